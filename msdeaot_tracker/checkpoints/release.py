"""What the manifest says of one public file of weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Release:
    """One public file of weights."""

    name: str
    file: str  # its name in the cache folder
    purpose: str
    training: str
    licence: str  # of the weights, or of the repository that offers them where nothing is said of the weights
    page: str  # where a human reads about it
    urls: tuple[str, ...] = ()  # mirrors of the file, tried in this order; empty: it must be fetched by hand
    package: tuple[str, str] | None = None  # Python package that holds it, and where in its folder
    sha256: str | None = None
    size: int | None = None  # bytes
    used_by: tuple[str, ...] = ()  # that find the file themselves: "preset:NAME", "initializer:NAME", "encoder:NAME"
    preset: str | None = None  # of the model that these are weights of
    note: str = ""


def drive(file_id: str) -> str:
    return f"https://drive.google.com/file/d/{file_id}/view"


def hub(repository: str, file: str) -> str:
    return f"https://huggingface.co/{repository}/resolve/main/{file}"


UNPUBLISHED = "Neither hash nor size is published."
