"""Telling videos from other files by their first bytes."""

from __future__ import annotations

# So many first bytes are enough for every test here.
HEAD_BYTES = 4096

# Boxes with which ISO files (MP4, MOV) begin, and brands of those that hold sound or a still picture.
ISO_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip")
BRANDS_WITHOUT_VIDEO = (
    b"M4A ",
    b"M4B ",
    b"M4P ",
    b"F4A ",
    b"F4B ",
    b"heic",
    b"heix",
    b"heif",
    b"mif1",
    b"avif",
    b"crx ",
)

# What other containers and raw streams begin with.
BEGINNINGS = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"FLV\x01",
    b"0&\xb2u\x8ef\xcf\x11",  # ASF: WMV, DVR-MS
    b"\xb7\xd8\x00 7I\xda\x11",  # WTV
    b"\x06\x0e+4\x02\x05\x01\x01",  # MXF
    b".RMF",  # RealMedia
    b"nut/multimedia container",
    b"YUV4MPEG2 ",
    b"DKIF",  # IVF
    b"DHAV",  # recordings of surveillance cameras
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG-1, MPEG-2
    b"\x00\x00\x01\xb0",  # MPEG-4 part 2
    b"\x00\x00\x00\x01\x67",  # H.264
    b"\x00\x00\x00\x01\x27",
    b"\x00\x00\x00\x01\x09\x10\x00\x00\x00\x01\x67",
    b"\x00\x00\x00\x01\x40\x01",  # HEVC
)

# Bytes of a packet of a transport stream: plain, with a time code in front, with a checksum behind.
TRANSPORT_PACKETS = (188, 192, 204)
LONGEST_TIME_CODE = 4
# So many sync bytes in a row are no accident.
SYNCED = b"GGGGG"


def starts_like_video(head: bytes) -> bool:
    """Whether a file with these first bytes is a video, or began as one.

    >>> starts_like_video(b"RIFF\\x00\\x10\\x00\\x00AVI LIST"), starts_like_video(b"RIFF\\x00\\x10\\x00\\x00WAVEfmt ")
    (True, False)
    """
    if head[4:8] in ISO_BOXES:
        return not (head[4:8] == b"ftyp" and head[8:12] in BRANDS_WITHOUT_VIDEO)
    if head.startswith(b"RIFF"):
        return head[8:12] == b"AVI "
    if head.startswith(b"OggS"):
        return b"\x80theora" in head or b"OVP80" in head
    return head.startswith(BEGINNINGS) or _is_transport_stream(head)


def is_text(head: bytes) -> bool:
    """Whether these first bytes are text, such as a program.

    >>> is_text("const π = 3.14;\\n".encode()), is_text(b"G\\x40\\x11\\x10\\x00")
    (True, False)
    """
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16
        return True
    text = head.decode("utf-8", "ignore")
    # The last character may be cut off.
    whole = len(text.encode()) >= len(head) - 3
    return (
        bool(head) and whole and all(character.isprintable() or character in "\t\n\r\f" for character in text)
    )


def _is_transport_stream(head: bytes) -> bool:
    """Sync bytes at the distance of a packet, wherever the first of them is; a mere beginning starts with one."""
    if is_text(head):
        return False
    for packet in TRANSPORT_PACKETS:
        if len(head) < len(SYNCED) * packet:
            if any(set(head[first::packet]) == set(SYNCED) for first in (0, LONGEST_TIME_CODE)):
                return True
        elif any(SYNCED in head[first::packet] for first in range(packet)):
            return True
    return False
