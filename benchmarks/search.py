"""What a search costs: exact, with usearch, with faiss, beside faiss-cpu's flat index. See README.md beside this file.

    python benchmarks/search.py [--vectors 1000000] [--dim 512] [--backends usearch faiss] [--out FILE]

Prints progress on stderr and one JSON object on stdout.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from clipopt.search import Index, search
from clipopt.types import generator

COUNT = 10
BATCH = 64
CENTRES = 1000
WRITTEN = 50_000

Search = Callable[[Tensor, int], tuple[Tensor, Tensor]]


def vectors(count: int, dim: int, seed: int) -> Tensor:
    """Unit rows around centres, as embeddings are: uniform ones have no neighbours."""
    centres = F.normalize(torch.randn(CENTRES, dim, generator=generator(0)), dim=1)
    rng = generator(1, seed)
    which = torch.randint(CENTRES, (count,), generator=rng)
    return F.normalize(centres[which] + 0.7 * F.normalize(torch.randn(count, dim, generator=rng), dim=1), dim=1)


def make_index(folder: Path, count: int, dim: int) -> Index:
    """An index of `count` rows in one part."""
    index = Index.create(folder, scorer="none", fingerprint="none", dim=dim, source="benchmark", kind="embeddings")
    for start in range(0, count, WRITTEN):
        size = min(WRITTEN, count - start)
        index.append(vectors(size, dim, start), [{"path": str(start + i)} for i in range(size)])
    index.compact()
    return index


def flat(index: Index) -> Search:
    """faiss-cpu's exact index: float32 in memory."""
    import faiss

    graph = faiss.IndexFlatIP(index.manifest.dim)
    for part in index.parts():
        for rows in part.split(WRITTEN):
            graph.add(rows.float().numpy())

    def find(queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        scores, numbers = graph.search(queries.numpy(), count)
        return torch.from_numpy(scores), torch.from_numpy(numbers)

    return find


def measure(ways: dict[str, Search], queries: Tensor, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds per query, one by one and in batches; the ways take turns, so that a drift meets all of them."""
    truth = {}
    seconds: dict[str, dict[str, list[float]]] = {way: {"single": [], "batched": []} for way in ways}
    for index in range(rounds + 1):
        for way, find in ways.items():
            for mode, some in (("single", queries[index : index + 1]), ("batched", queries[:BATCH])):
                start = time.perf_counter()
                found = find(some, COUNT)[1]
                if index:  # the first round warms up
                    seconds[way][mode].append((time.perf_counter() - start) / len(some))
                if mode == "batched":
                    truth[way] = found
    results = {}
    for way in ways:
        shared = [len(set(a) & set(b)) for a, b in zip(truth["exact"].tolist(), truth[way].tolist(), strict=True)]
        results[way] = {mode + "_ms": round(1e3 * statistics.median(s), 3) for mode, s in seconds[way].items()}
        results[way][f"recall@{COUNT}"] = round(sum(shared) / (COUNT * len(shared)), 4)
    if "faiss flat" in results:
        for way in results:
            for mode in ("single_ms", "batched_ms"):
                results[way][f"{mode[:-3]}_over_faiss_flat"] = round(
                    results[way][mode] / results["faiss flat"][mode], 3
                )
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--backends", nargs="*", choices=["usearch", "faiss"], default=["usearch", "faiss"])
    parser.add_argument("--no-flat", action="store_true", help="without faiss-cpu's flat index")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        print("writing the index", file=sys.stderr)
        index = make_index(Path(scratch) / "index", options.vectors, options.dim)
        ways: dict[str, Search] = {"exact": lambda queries, count: search(index, queries, count)}
        if not options.no_flat:
            ways["faiss flat"] = flat(index)
        built = {}
        for backend in options.backends:
            from clipopt.search.approximate import Graph, build

            print(f"building the {backend} graph", file=sys.stderr)
            start = time.perf_counter()
            build(index, backend)
            built[backend] = round(time.perf_counter() - start, 1)
            ways[backend] = Graph(index, backend)
        print("searching", file=sys.stderr)
        results = {
            "torch": torch.__version__,
            "processor": platform.processor() or platform.machine(),
            "threads": options.threads,
            "load_before": os.getloadavg()[0],
            "vectors": options.vectors,
            "dim": options.dim,
            "build_seconds": built,
            "results": measure(ways, vectors(BATCH + options.rounds, options.dim, -1), options.rounds),
        }
    text = json.dumps(results, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
