"""The folder of dumps: its files, its bounds, and what is removed."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from aibridge.dumps.folder import DumpFolder, exchange_path, remove_dumps

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC).timestamp()
DAY = 86400


def identity(seconds: float, number: int = 0) -> UUID:
    """An id of that time."""
    return UUID(int=int(seconds * 1000) << 80 | 7 << 76 | 2 << 62 | number)


class FolderTests(SynchronousTestCase):
    """A folder, as its clock goes on."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "dumps"
        self.now = NOON

    def test_foreign_ids(self) -> None:
        """An id without a time, which a host program may have given, has a place too."""
        foreign = UUID("ffffffff-ffff-4fff-bfff-ffffffffffff")
        self.assertEqual(exchange_path(foreign), f"undated/{foreign}")

    def folder(self, max_bytes: int = 1000, days: int = 2) -> DumpFolder:
        """The folder, as a process sees it."""
        return DumpFolder(self.path, max_bytes, days, lambda: self.now)

    def write(self, folder: DumpFolder, number: int, size: int = 100) -> bool:
        """A file of an exchange that begins now."""
        return folder.append(exchange_path(identity(self.now, number)), "request", b"x" * size, is_first=True)

    @property
    def kept(self) -> list[str]:
        """The exchanges that are there, by the ends of their ids."""
        return sorted(path.name[-2:] for path in self.path.glob("*-*-*/*"))

    def test_files(self) -> None:
        """Files are the owner's alone, in a directory by the date and the id of the exchange."""
        path = exchange_path(identity(NOON))
        self.assertEqual(path, "2026-03-04/" + str(identity(NOON)))
        folder = self.folder()
        for data in (b"one", b"two"):
            self.assertTrue(folder.append(path, "answer", data, is_first=data == b"one"))
        self.assertEqual((self.path / path / "answer").read_bytes(), b"onetwo")
        modes = [(self.path / name).stat().st_mode & 0o777 for name in (".", path, f"{path}/answer")]
        self.assertEqual(modes, [0o700, 0o700, 0o600])

    def test_bytes(self) -> None:
        """The bound is never exceeded: the oldest exchanges make room, some at a time."""
        folder = self.folder()
        for number in range(30):
            self.write(folder, number)
            files = [path for path in self.path.rglob("*") if path.is_file()]
            self.assertLessEqual(sum(path.stat().st_size for path in files), 1000)
        self.assertEqual(self.kept[-1], "1d")
        self.assertEqual(self.kept, [f"{number:02x}" for number in range(30)][-len(self.kept) :])
        self.assertGreaterEqual(len(self.kept), 9)

    def test_others(self) -> None:
        """What other processes write counts too, and files of strangers are never removed."""
        for stranger in ("notes/file", "2026-01-01/file", "file"):
            (self.path / stranger).parent.mkdir(parents=True, exist_ok=True)
            (self.path / stranger).write_bytes(b"x" * 2000)
        one, other = self.folder(), self.folder()
        for number in range(0, 40, 2):
            self.write(one, number)
            self.write(other, number + 1)
        self.assertLessEqual(len(self.kept), 12)
        self.assertTrue((self.path / "notes/file").exists() and (self.path / "2026-01-01/file").exists())

    def test_too_large(self) -> None:
        """An exchange that alone is over the bound is given up."""
        folder = self.folder()
        self.assertFalse(self.write(folder, 1, 2000))
        path = exchange_path(identity(NOON, 2))
        written = [folder.append(path, "answer", b"x" * 100, is_first=not number) for number in range(30)]
        self.assertFalse(all(written))

    def test_days(self) -> None:
        """Dumps of earlier days are removed when a day begins; with 0 they stay."""
        for days, kept in ((2, ["02", "03"]), (0, ["00", "01", "02", "03"])):
            self.path, self.now = Path(self.mktemp()), NOON
            folder = self.folder(days=days)
            for number in range(4):
                self.write(folder, number)
                self.now += DAY
            self.assertEqual(self.kept, kept)
            self.assertEqual(len([*self.path.iterdir()]), len(kept))

    def test_unwritable(self) -> None:
        """A folder that can't be written is an error of the system's own."""
        self.path.parent.mkdir()
        self.path.write_text("a file")
        self.assertRaises(OSError, self.write, self.folder(), 1)

    def test_remove(self) -> None:
        """The dumps of named exchanges can be removed."""
        folder = self.folder()
        for number in range(3):
            self.write(folder, number)
        self.assertEqual(remove_dumps(self.path, [identity(NOON, 1), identity(NOON, 9)]), 1)
        self.assertEqual(self.kept, ["00", "02"])
