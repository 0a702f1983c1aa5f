"""Which columns of a Parquet file hold encoded images and their keys."""

from __future__ import annotations

import pyarrow as pa

from posrefine.errors import ConfigurationError, ShardError

__all__ = ["find_image_column", "find_key_column", "key_text", "no_image_column", "require_image_column"]

_IMAGE_NAMES = ("image", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes", "content", "data")
_KEY_NAMES = ("image_key", "key", "__key__", "file_name", "filename", "path", "image_id", "id")


def find_image_column(schema: pa.Schema, wanted: str | None, uri: str) -> str | None:
    """The column of encoded images: `wanted`, or the first of the usual names that fits; None where none is.

    Fitting are binary types and struct<bytes: binary, ...>.

    Raises:
        ConfigurationError: a column was wanted, and is not there or does not fit.
        ShardError: two columns have its name.
    """
    for name in (wanted,) if wanted else _IMAGE_NAMES:
        if any(field.name == name and _holds_bytes(field.type) for field in schema):
            _require_one(schema, name, uri)
            return name
    if wanted:
        raise no_image_column(schema, wanted, uri)
    return None


def require_image_column(schema: pa.Schema, wanted: str | None, uri: str) -> str:
    """Like `find_image_column`; `ConfigurationError` where there is none."""
    name = find_image_column(schema, wanted, uri)
    if name is None:
        raise no_image_column(schema, wanted, uri)
    return name


def no_image_column(schema: pa.Schema, wanted: str | None, uri: str) -> ConfigurationError:
    """The error of a file without images: what was looked for, and what it has."""
    columns = ", ".join(f"{field.name} {field.type}" for field in schema)
    looked_for = f"column '{wanted}'" if wanted else f"any of the columns {', '.join(_IMAGE_NAMES)}"
    return ConfigurationError(
        f"{uri}: looked for encoded images (binary, or struct with a binary field 'bytes') in {looked_for}; "
        f"the file has {columns}; name the column with --image-column"
    )


def _require_one(schema: pa.Schema, name: str, uri: str) -> None:
    count = schema.names.count(name)
    if count > 1:
        raise ShardError(f"{uri}: has {count} columns named '{name}', one wanted; rename the others")


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_bytes(kind.field("bytes").type)
    return _is_binary(kind.value_type if pa.types.is_dictionary(kind) else kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def find_key_column(schema: pa.Schema, wanted: str | None, uri: str) -> str | None:
    """The column of image keys: `wanted`, or the first of the usual names that fits; None where none does.

    Fitting are text, bytes and whole numbers, also as dictionaries.

    Raises:
        ConfigurationError: a column was wanted, and is not there.
        ShardError: two columns have its name.
    """
    if wanted and wanted not in schema.names:
        raise ConfigurationError(
            f"{uri}: there is no key column '{wanted}'; the file has {', '.join(schema.names)}"
        )
    for name in (wanted,) if wanted else _KEY_NAMES:
        if wanted or any(field.name == name and _is_key(field.type) for field in schema):
            _require_one(schema, name, uri)
            return name
    return None


def key_text(key: object) -> str:
    """A key as text, the same for every type that holds it; bytes that are not UTF-8 are written as \\xNN."""
    return key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)


def _is_key(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return bool(is_text or _is_binary(kind) or pa.types.is_integer(kind))
