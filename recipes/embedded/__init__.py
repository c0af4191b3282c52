"""How the embedded models are made: the world that draws their training pictures, and their training.

Painters draw captioned 64 px pictures: flat shapes and everyday things (from a colour emoji font, needed to
train and not to use) in named colours, counts, sizes, places and relations on named backgrounds. A residual
tower and a word transformer learn to match them, first plainly, then against adversarial perturbations, then
against a buffer of the tower's own optimized pictures, so that ascending its score draws things, not texture.

python -m recipes.embedded train scorer                # or judge, plain, describer, sketcher, generator, motion
python -m recipes.embedded hands FOLDER                # a world of many hands: see README.md beside this file
"""
