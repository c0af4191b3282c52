"""How the embedded models are trained on a world of many hands; see README.md beside this file.

python -m recipes.embedded hands FOLDER
python -m recipes.embedded sheet FOLDER
python -m recipes.embedded words FOLDER
python -m recipes.embedded train scorer --hands FOLDER
"""
