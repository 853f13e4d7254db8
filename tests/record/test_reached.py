"""The mark of a database that was reached once."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from aibridge.record.reached import ReachedMark

SERVER = "postgresql+psycopg://u:{}@h/db"


class ReachedMarkTests(SynchronousTestCase):
    """Marks of databases of both kinds."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def test_server(self) -> None:
        """A server's mark is found again by the next process, with another password too; it has no secret."""
        mark = ReachedMark(self.folder, SERVER.format("hunter2"))
        self.assertFalse(mark.is_set)
        mark.set()
        self.assertTrue(mark.is_set)
        self.assertTrue(ReachedMark(self.folder, SERVER.format("other")).is_set)
        self.assertFalse(ReachedMark(self.folder, SERVER.format("other") + "2").is_set)
        [file] = self.folder.iterdir()
        self.assertEqual((file.stat().st_mode & 0o777, file.read_bytes()), (0o600, b""))

    def test_sqlite(self) -> None:
        """A SQLite database was reached if its file exists; no other file is made."""
        path = self.folder / "x.sqlite"
        self.assertFalse(ReachedMark(self.folder, f"sqlite:///{path}").is_set)
        path.touch()
        self.assertTrue(ReachedMark(self.folder, f"sqlite:///{path}").is_set)
        ReachedMark(self.folder, f"sqlite:///{self.folder}/y.sqlite").set()
        self.assertEqual([*self.folder.iterdir()], [path])

    def test_no_folder(self) -> None:
        """Without a folder, or with one that can't be written, the mark lasts as long as the process."""
        for folder in (None, Path("/nowhere")):
            mark = ReachedMark(folder, SERVER)
            self.assertFalse(mark.is_set)
            mark.set()
            self.assertTrue(mark.is_set)
