"""Which columns of a Parquet file hold encoded images and their keys."""

from __future__ import annotations

import pyarrow as pa

from posrefine.errors import ConfigurationError

__all__ = ["find_image_column", "find_key_column"]

_IMAGE_NAMES = ("image", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes", "content", "data")
_KEY_NAMES = ("image_key", "key", "__key__", "file_name", "filename", "path", "image_id", "id")


def find_image_column(schema: pa.Schema, wanted: str | None, uri: str) -> str:
    """The column of encoded images: `wanted`, or the first of the usual names that has a fitting type.

    Fitting are binary types and struct<bytes: binary, ...>. Raises `ConfigurationError` if there is none.
    """
    for name in (wanted,) if wanted else _IMAGE_NAMES:
        if name in schema.names and _holds_bytes(schema.field(name).type):
            return str(name)
    columns = ", ".join(f"{field.name} {field.type}" for field in schema)
    looked_for = f"column '{wanted}'" if wanted else f"any of the columns {', '.join(_IMAGE_NAMES)}"
    raise ConfigurationError(
        f"{uri}: looked for encoded images (binary, or struct with a binary field 'bytes') in {looked_for}; "
        f"the file has {columns}; name the column with image_column"
    )


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_bytes(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def find_key_column(schema: pa.Schema, wanted: str | None, uri: str) -> str | None:
    """The column of image keys: `wanted`, or the first of the usual names with text or whole numbers, or
    None."""
    if wanted:
        if wanted not in schema.names:
            raise ConfigurationError(
                f"{uri}: there is no key column '{wanted}'; the file has {', '.join(schema.names)}"
            )
        return wanted
    for name in _KEY_NAMES:
        if name in schema.names and _is_key(schema.field(name).type):
            return name
    return None


def _is_key(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind))
