"""Names of model files as workflows from other machines spell them."""

from __future__ import annotations

from collections.abc import Collection


class FileNames(list[str]):
    """Names to choose from; it also contains each name as another machine may spell it.

    The host looks up what a workflow names with `in`, and sends the list to the page as it is.
    """

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and match_name(name, self) is not None


def match_name(name: str, names: Collection[str]) -> str | None:
    """The one name in a list that another spelling means; None if there is none, or more than one.

    Windows writes backslashes and takes letters of either case. A file that one machine has in a subfolder of its model
    folder, another has in the model folder itself.
    """
    known = list(names)
    if any(name == each for each in known):
        return name
    if {"", ".", ".."} & set(_with_slashes(name).split("/")):  # a path from elsewhere, not a name in a list
        return None
    for spell in (_with_slashes, _without_case, _without_folder):
        found = [each for each in known if spell(each) == spell(name)]
        if spell is _without_folder:
            found = [each for each in found if "/" not in _with_slashes(each) or "/" not in _with_slashes(name)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _with_slashes(name: str) -> str:
    return name.replace("\\", "/")


def _without_case(name: str) -> str:
    return _with_slashes(name).casefold()


def _without_folder(name: str) -> str:
    return _without_case(name).rpartition("/")[2]
