"""What is said: sentences put together from short word lists, or digits."""

from mmseqdiff_monologues.seeds import Draws

__all__ = ["DIGITS", "compose", "dictate"]

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""The words of :func:`dictate`."""

_WHO = (
    "my mother", "the baker", "a sailor", "our teacher", "the old farmer", "his brother", "the young doctor",
    "a painter", "the pilot", "my neighbour", "the queen", "a clever fox", "the gardener", "everybody",
    "the piano player", "her father",
)  # fmt: skip
_DOES = (
    "found", "carried", "painted", "bought", "lost", "opened", "borrowed", "watched", "remembered", "sold", "loved",
    "saw", "moved", "hid", "broke", "made", "followed", "chose",
)  # fmt: skip
_HOW = ("", "", "", "slowly", "always", "almost", "never", "quietly", "proudly", "finally")
_WHICH = (
    "a blue", "the heavy", "a beautiful", "the empty", "an orange", "a warm", "the smallest", "a round",
    "the famous", "an open", "a purple", "the broken", "a wooden", "the other",
)  # fmt: skip
_WHAT = (
    "boat", "apple", "window", "violin", "mountain", "umbrella", "map", "moon", "bottle", "garden", "pillow", "wagon",
    "camera", "flower", "machine", "barn", "owl", "sofa",
)  # fmt: skip
_WHERE = (
    "by the harbour", "in the morning", "above the village", "under the bridge", "after lunch",
    "in a far away town", "on the farm", "before the storm", "at home", "along the river", "on a warm evening",
    "behind the wall",
)  # fmt: skip
_LINKS = (". ", ". ", ", and ", ", but ")


def compose(seed: int, sentences: int) -> str:
    """Some sentences, of about three and a half seconds each."""
    draws = Draws(seed, "text")
    chosen = [draws.choices(part, options, sentences) for part, options in _PARTS.items()]
    clauses = [" ".join(word for word in words if word) for words in zip(*chosen)]
    links = [*draws.choices("link", _LINKS, sentences - 1), "."]
    spoken = "".join(clause + link for clause, link in zip(clauses, links))
    return ". ".join(sentence[0].upper() + sentence[1:] for sentence in spoken.split(". "))


_PARTS = {"who": _WHO, "how": _HOW, "does": _DOES, "which": _WHICH, "what": _WHAT, "where": _WHERE}


def dictate(seed: int, digits: int) -> str:
    """Some digits, in groups of three with a comma between them."""
    words = Draws(seed, "text").choices("digits", DIGITS, digits)
    return ", ".join(" ".join(words[n : n + 3]) for n in range(0, digits, 3)) + "."
