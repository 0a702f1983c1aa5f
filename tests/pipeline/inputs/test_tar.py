from __future__ import annotations

import gzip
import io
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from support.shards import make_tar

from pipeline.inputs.tar import TarMember, iter_members
from pipeline.inputs.tar_header import BLOCK_BYTES, header_positions, parse_header, round_up
from posrefine.errors import ShardError

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
MARK_BYTES = 2 * BLOCK_BYTES


@dataclass
class InMemory:
    data: bytes
    uri: str = "shard.tar"

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def read(self, position: int, length: int) -> bytes:
        return self.data[position : position + length]


def members_of(tar: bytes, start: int = 0, end: int | None = None) -> list[TarMember]:
    return list(iter_members(InMemory(tar), start, len(tar) if end is None else end))


def contents_of(tar: bytes, cuts: list[int]) -> list[tuple[str, int, bytes]]:
    """What readers of the ranges between the cuts get, in order."""
    bounds = [0, *sorted(cuts), len(tar)]
    return [
        (member.name, member.header_byte, tar[member.data_byte : member.data_byte + member.data_bytes])
        for start, end in pairwise(bounds)
        for member in members_of(tar, start, end)
        if member.kind == "file"
    ]


def reference_contents(tar: bytes) -> list[tuple[str, int, bytes]]:
    """The same by the standard library."""
    with tarfile.open(fileobj=io.BytesIO(tar), ignore_zeros=True) as archive:
        return [
            (entry.name, entry.offset, archive.extractfile(entry).read())
            for entry in archive
            if entry.isfile()
        ]


names = st.one_of(
    st.from_regex(r"[a-z0-9_]{1,12}\.(jpg|json|cls)", fullmatch=True),
    st.from_regex(r"[a-z]{1,30}/[a-z]{80,130}/[a-z]{80,240}\.jpg", fullmatch=True),
    st.from_regex(r"(\.\./)?[äöü✓]{1,60}\.png", fullmatch=True),
)
data_sizes = st.one_of(st.integers(0, 40), st.sampled_from([511, 512, 513, 1024, 1535, 2048]))


def data_of(size_bytes: int) -> bytes:
    return (b"\xff\xd8photo" * (size_bytes // 7 + 1))[:size_bytes]


class Tar(bytes):
    """Bytes that print as their length, so that a failing example can be read."""

    def __repr__(self) -> str:
        return f"<tar of {len(self)} bytes>"


@st.composite
def tars(draw: st.DrawFn) -> Tar:
    """A tar in any format, with long and odd names, all sizes, directories and links between the files."""
    entries = draw(st.lists(st.tuples(names, data_sizes, st.sampled_from("ffffdl")), max_size=8))
    tar_format = draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    note(f"format {tar_format}: {entries}")
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tar_format) as tar:
        for name, size_bytes, kind in entries:
            entry = tarfile.TarInfo(name)
            if kind == "f":
                entry.size = size_bytes
            else:
                entry.type = tarfile.DIRTYPE if kind == "d" else tarfile.SYMTYPE
                entry.linkname = "" if kind == "d" else "target" * 30
            tar.addfile(entry, io.BytesIO(data_of(size_bytes)) if kind == "f" else None)
    return Tar(file.getvalue())


@given(tars(), st.lists(st.integers(0, 30_000), max_size=6))
def test_any_partition_of_any_tar_yields_each_member_exactly_once(tar, cuts):
    assert contents_of(tar, [min(cut, len(tar)) for cut in cuts]) == reference_contents(tar)


@given(tars())
@settings(max_examples=20)
def test_a_split_at_every_single_block_yields_each_member_exactly_once(tar):
    assert contents_of(tar, list(range(0, len(tar), BLOCK_BYTES))) == reference_contents(tar)


@given(tars(), tars(), st.lists(st.integers(0, 30_000), max_size=6))
def test_concatenated_tars_yield_the_members_of_both(first, second, cuts):
    tar = Tar(first + second)
    assert contents_of(tar, [min(cut, len(tar)) for cut in cuts]) == reference_contents(tar)


nested = st.builds(
    lambda inner, before, after, tar_format: Tar(
        make_tar({"before.jpg": data_of(before), "inner.tar": inner, "after.jpg": data_of(after)}, tar_format)
    ),
    tars(),
    data_sizes,
    data_sizes,
    st.sampled_from(FORMATS),
)


@given(nested, st.lists(st.integers(0, 40_000), max_size=5))
def test_a_tar_inside_the_tar_is_never_mistaken_for_members(tar, cuts):
    try:
        contents = contents_of(tar, [min(cut, len(tar)) for cut in cuts])
    except ShardError as error:
        assert "tar inside the tar" in str(error) or "member header" in str(error)  # noqa: PT017
    else:
        assert contents == reference_contents(tar)


@given(nested)
def test_an_unsplit_tar_may_hold_tars(tar):
    assert contents_of(tar, []) == reference_contents(tar)


def test_a_split_inside_a_nested_tar_says_what_to_do():
    inner = make_tar({"a.jpg": b"a" * 600, "b.jpg": b"b" * 600})
    tar = make_tar({"before.jpg": b"x", "inner.tar": inner, "after.jpg": b"y"})
    with pytest.raises(ShardError, match=r"a tar inside the tar.*--no-split-tars"):
        members_of(tar, 0, tar.index(b"b.jpg"))


@given(tars(), st.integers(0, 40_000), st.lists(st.integers(0, 30_000), max_size=3))
def test_a_cut_tar_is_never_silently_short(tar, keep, cuts):
    whole = reference_contents(tar)
    cut = tar[: keep % (len(tar) + 1)]
    bounds = [0, *sorted(min(c, len(cut)) for c in cuts), len(cut)]
    found: list[TarMember] = []
    try:
        for start, end in pairwise(bounds):
            found += members_of(cut, start, end)
    except ShardError as error:
        assert "end-of-archive mark" in str(error)  # noqa: PT017
    else:
        complete = [member.header_byte for member in found if member.kind == "file" and not member.is_cut]
        assert any(member.is_cut for member in found) or complete == [offset for _, offset, _ in whole]


def test_a_tar_cut_between_two_members_is_an_error_naming_the_mark():
    tar = make_tar({"a.jpg": b"a" * 100, "b.jpg": b"b" * 100})
    with pytest.raises(ShardError, match="ends at byte 1024 without an end-of-archive mark"):
        members_of(tar[:1024])


def test_a_tar_cut_inside_a_member_gives_that_member_marked_as_cut():
    tar = make_tar({"a.jpg": b"a" * 100, "b.jpg": b"b" * 2000})
    assert [(member.name, member.is_cut) for member in members_of(tar[:2000])] == [
        ("a.jpg", False),
        ("b.jpg", True),
    ]


def test_an_empty_object_is_no_tar():
    with pytest.raises(ShardError, match="end-of-archive mark"):
        members_of(b"")


def test_a_tar_without_members_has_none():
    assert members_of(make_tar({})) == []


def test_overwritten_bytes_where_a_header_must_be_are_an_error():
    tar = bytearray(make_tar({"a.jpg": b"a" * 100, "b.jpg": b"b" * 100}))
    tar[1024 + 10] ^= 0xFF
    with pytest.raises(ShardError, match="a member header must be at byte 1024"):
        members_of(bytes(tar))


@pytest.mark.parametrize("tar_format", FORMATS)
def test_each_format_reads_as_the_standard_library_reads_it(tar_format):
    tar = make_tar({"d/a.jpg": b"a" * 700, "x" * 60 + "/" + "y" * 80 + ".jpg": b"b"}, tar_format)
    assert contents_of(tar, []) == reference_contents(tar)


def test_a_v7_header_without_magic_is_read():
    tar = bytearray(make_tar({"a.jpg": b"abc"}))
    tar[257:265] = bytes(8)
    tar[148:156] = b" " * 8
    tar[148:156] = b"%06o\0 " % sum(tar[:512])
    assert [member.name for member in members_of(bytes(tar))] == ["a.jpg"]


@pytest.mark.parametrize("tar_format", FORMATS)
def test_a_long_name_whose_short_form_ends_in_a_slash_is_still_a_file(tar_format):
    tar = make_tar({"d" * 99 + "/" + "n" * 60 + ".jpg": b"abc"}, tar_format)
    assert contents_of(tar, []) == reference_contents(tar)


def test_a_size_in_binary_is_read():
    entry = tarfile.TarInfo("big.jpg")
    entry.size = 9 * 2**30
    header = parse_header(entry.tobuf(tarfile.GNU_FORMAT)[:512])
    assert header is not None
    assert header.data_bytes == 9 * 2**30


def test_a_global_pax_header_belongs_to_the_member_after_it():
    file = io.BytesIO()
    pax_headers = {"comment": "made by a version control system"}
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, pax_headers=pax_headers) as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))
    assert [(member.name, member.header_byte) for member in members_of(file.getvalue())] == [("a.jpg", 0)]


def test_links_and_directories_are_told_apart_from_files():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("s.jpg", tarfile.SYMTYPE), ("h.jpg", tarfile.LNKTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type = kind
            tar.addfile(entry)
        tar.addfile(tarfile.TarInfo("f.jpg"))
    kinds = [(member.name, member.kind) for member in members_of(file.getvalue())]
    assert kinds == [("d/", "directory"), ("s.jpg", "link"), ("h.jpg", "link"), ("f.jpg", "file")]


def test_a_name_that_is_not_utf8_stays_readable_and_printable():
    tar = make_tar({"a.jpg": b""}).replace(b"a.jpg", b"\xe4.jpg", 1)
    block = bytearray(tar[:512])
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    assert members_of(bytes(block) + tar[512:])[0].name == "\\xe4.jpg"


@given(st.binary(max_size=2048))
def test_headers_are_found_exactly_where_blocks_parse_as_headers(data):
    tar = data + make_tar({"a": b"b"})
    expected = [p for p in range(0, len(tar) - 511, 512) if parse_header(tar[p : p + 512])]
    assert header_positions(tar) == expected


@dataclass
class Counting(InMemory):
    """Counts the bytes that are read, in whole blocks: a store does not send less."""

    read_bytes: int = 0

    def read(self, position: int, length: int) -> bytes:
        data = super().read(position, length)
        self.read_bytes += round_up(position + len(data)) - position // BLOCK_BYTES * BLOCK_BYTES
        return data


def pax_header(payload: bytes = b"", kind: bytes = b"x") -> bytes:
    info = tarfile.TarInfo("pax")
    info.type, info.size = kind, len(payload)
    return info.tobuf(tarfile.USTAR_FORMAT) + payload + bytes(-len(payload) % BLOCK_BYTES)


def file_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("size", [b"-1536", b"+5", b"1_000", b" 7", b"", b"9" * 30, "٣".encode()])
def test_a_pax_size_that_is_no_plain_number_is_an_error_and_leads_nowhere(size: bytes):
    body = b" size=" + size + b"\n"
    length = next(n for n in range(5, 99) if n == len(str(n)) + len(body))
    tar = file_header("a", 512) + bytes(512) + pax_header(str(length).encode() + body) + file_header("b", 0)
    with pytest.raises(ShardError, match="PAX header at byte 1024 is malformed: size of"):
        members_of(tar + bytes(1024))


def sparse_header(name: str, *, goes_on: bool, size: int = 0) -> bytes:
    """Of a GNU sparse member; one whose map goes on reads as a block of such a map, too, that goes on."""
    info = tarfile.TarInfo(name)
    info.type, info.size = b"S", size
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[482] = block[504] = goes_on
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


HOSTILE = {
    "empty PAX headers": pax_header(),
    "long-name headers": pax_header(b"n" * 200 + b"\0", b"L"),
    "headers of files without data": file_header("a.jpg", 0),
    "maps of sparse members": sparse_header("a.jpg", goes_on=True),
    "long-name headers in each other": pax_header(pax_header(kind=b"L"), b"L"),
}


@pytest.mark.parametrize("blocks", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("as_data", [False, True])
def test_a_tar_in_ranges_is_read_a_few_times_at_most_whatever_headers_it_holds(blocks: bytes, as_data: bool):
    many = blocks * (2**22 // len(blocks))
    tar = (file_header("all.bin", len(many)) if as_data else b"") + many + file_header("z", 0) + bytes(1024)
    source = Counting(tar)
    for start in range(0, len(tar), 2**18):
        with suppress(ShardError):
            list(iter_members(source, start, start + 2**18))
    assert source.read_bytes <= 8 * len(tar)


@pytest.mark.parametrize("blocks", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("as_data", [False, True])
def test_a_range_is_read_a_few_times_at_most_whatever_headers_it_holds(blocks: bytes, as_data: bool):
    many = blocks * (2**20 // len(blocks))
    tar = (file_header("all.bin", len(many)) if as_data else b"") + many + file_header("z", 0) + bytes(1024)
    for start in range(0, len(tar), 2**18):
        source = Counting(tar)
        with suppress(ShardError):  # a tar inside the tar, or a range that begins inside a chain of headers
            list(iter_members(source, start, start + 2**18))
        assert source.read_bytes <= 4 * 2**20


def test_the_map_of_a_sparse_member_goes_on_in_blocks():
    more, last = bytes(504) + b"\1" + bytes(7), bytes(BLOCK_BYTES)
    tar = sparse_header("s.jpg", goes_on=True, size=700) + more * 40 + last + bytes(1024)
    members = members_of(tar + make_tar({"a.jpg": b"x"}))
    assert [(member.name, member.kind) for member in members] == [("s.jpg", "sparse"), ("a.jpg", "file")]
    assert members[0].data_byte == 42 * BLOCK_BYTES


def test_the_map_of_a_sparse_member_that_has_no_end_is_an_error():
    with pytest.raises(
        ShardError, match="the map of the sparse member at byte 1024 goes on for over 1048576"
    ):
        members_of(file_header("a", 512) + bytes(512) + sparse_header("s", goes_on=True) * 3000)


def test_extended_headers_that_have_no_end_are_an_error():
    with pytest.raises(ShardError, match="the extended headers at byte 0 go on for over 1048576"):
        members_of(pax_header() * 3000 + file_header("a", 0) + bytes(1024))


def test_gzip_data_named_tar_is_called_by_its_name():
    with pytest.raises(ShardError, match="gzip data, though it is called a tar"):
        members_of(gzip.compress(make_tar({"a.jpg": b"x"})))
