"""One room for all campaigns of a process."""

from collections.abc import Iterator

import pytest
from campaigns.room import Room


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    room = Room(tmp_path_factory.mktemp("campaign"))
    yield room
    room.warm.close()
