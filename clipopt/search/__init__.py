"""Search: an index of embeddings on disk, and the items nearest to a text, a picture or a mixture of them.

index = Index.open(Path("photos.index"))
index.require(scorer)
scores, numbers = search(index, scorer.encode_text(["a red apple"]), count=10)
index.item(int(numbers[0, 0]))
"""

from clipopt.search.exact import combine, duplicates, search
from clipopt.search.store import Index

__all__ = ["Index", "combine", "duplicates", "search"]
