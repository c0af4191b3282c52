import os
import threading

import pytest
import torch

import clipopt as co
from clipopt.parallel import side_by_side
from clipopt.scorers import at_a_time
from tests.toy import ToyScorer


def test_order_share_of_threads_and_gradients():
    threads = torch.get_num_threads()
    together = threading.Barrier(2, timeout=10)

    def work(number: int) -> tuple[int, int, bool]:
        together.wait()  # breaks unless two are at it
        return number, torch.get_num_threads(), torch.is_grad_enabled()

    with torch.no_grad():
        seen = list(side_by_side(work, [1, 2, 3, 4], 2))
    assert [number for number, *_ in seen] == [1, 2, 3, 4]
    assert {share for _, share, _ in seen} == {max(1, threads // 2)}
    assert not any(recorded for *_, recorded in seen)
    assert torch.get_num_threads() == threads
    assert [recorded for *_, recorded in side_by_side(lambda number: work(number), [1, 2], 2)] == [True, True]


def test_an_error_comes_through_and_the_threads_stay():
    threads = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(lambda number: 1 // number, [1, 0], 2))
    assert torch.get_num_threads() == threads


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_works_in_a_fork():
    assert list(side_by_side(str, [1, 2], 2)) == ["1", "2"]
    if (child := os.fork()) == 0:
        os._exit(0 if list(side_by_side(str, [1, 2], 2)) == ["1", "2"] else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_small_scorer_sees_pieces_side_by_side_with_the_same_gradient(monkeypatch):
    scorer = co.load_scorer("embedded")
    image = torch.rand(2, 3, 64, 64, generator=co.generator(0)).requires_grad_()
    augment = co.augment.crops(3, 64)
    matching = co.Matching(lambda: image, scorer, co.target(scorer, ["a cat", "a dog"]), augment=augment, seeds=[0, 1])
    names = set()
    encode = scorer.encode_image

    def seen(images):
        names.add(threading.current_thread().name)
        return encode(images)

    monkeypatch.setattr(scorer, "encode_image", seen)
    results, before = [], torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            match = matching(0, co.generator(0))["match"]
        finally:
            torch.set_num_threads(before)
        results.append((match, *torch.autograd.grad(match.sum(), image)))
    assert any(name.startswith("clipopt") for name in names)
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)


def test_others_are_shown_one_batch_at_a_time():
    assert at_a_time(ToyScorer(), torch.device("cpu")) == 1
    assert at_a_time(co.load_scorer("embedded"), torch.device("cuda")) == 1
