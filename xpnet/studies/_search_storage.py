"""Where a search keeps its trials: Optuna's journal in the folder of the search, or a database.

A database is named by a URL of SQLAlchemy, such as sqlite:///search.db or postgresql://user@host/name. It
holds one search. No file and no message has the password of a URL. SQLAlchemy is imported only for a URL.
"""

import logging
import time
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from xpnet._util.text import short
from xpnet.errors import CheckpointError, ConfigError, Error
from xpnet.train import folder as folders

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

JOURNAL = "trials.log"
IN_JOURNAL, IN_DATABASE = "search", "xpnet-search"  # Optuna's names of the study
EXAMPLES = "sqlite:///search.db or postgresql://user@host/database"
DRIVERS = {  # what pip installs, by the name of the module
    "psycopg": "'psycopg[binary]'",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
}
TIMED = {"psycopg2", "psycopg", "pymysql", "mysqldb"}  # drivers that take connect_timeout
HIDDEN = "***"  # SQLAlchemy's word for a password
ATTEMPTS, PAUSE = 4, 0.2
WAIT = 10  # seconds for a server to answer
BUSY = 60  # seconds for another process to end its transaction in a file of SQLite
BEAT = 15  # seconds between two signs of life of a trial
GRACE = 120  # seconds without one, after which a trial counts as interrupted


def parsed(url: str) -> "URL":
    """The URL, with a whole path for a file of SQLite. ConfigError where it is none, or names no file."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        found = make_url(url)
    except (ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        what = short(str(url).rpartition("@")[2])  # without the password
        raise ConfigError(f"--storage: expected a URL such as {EXAMPLES}, got {what}") from error
    if found.get_backend_name() != "sqlite":
        return found
    if found.database in (None, "", ":memory:"):
        raise ConfigError(
            "--storage: expected a file that outlives the search, such as sqlite:///search.db, got a "
            "database in memory"
        )
    if found.database.startswith("file:"):
        return found
    return found.set(database=str(folders.user_path("--storage", found.database).absolute()))


def text(url: "URL") -> str:
    """The URL with its password, as `connect` takes it."""
    return url.render_as_string(hide_password=False)


def masked(url: str) -> str:
    """The URL with *** for its password."""
    from sqlalchemy.engine import make_url

    found = make_url(url)
    hidden = {name: HIDDEN for name in ("password", "passwd") if name in found.query}
    return found.update_query_dict(hidden).render_as_string(hide_password=True)


def is_masked(url: str) -> bool:
    """Whether the URL has *** for its password."""
    place = parsed(url)
    return HIDDEN in (place.password, *place.query.values())


@contextmanager
def one_line(url: str | None) -> Iterator[None]:
    """Turn what SQLAlchemy, its drivers and Optuna raise for a database into an Error of one line."""
    if url is None:
        yield
        return
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise Error(f"--storage: {masked(url)}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """What the driver says, in one line."""
    while isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    original = getattr(error, "orig", None) or error
    words = original.args[1] if len(original.args) == 2 and isinstance(original.args[1], str) else original
    return " ".join(str(words).split()) or type(original).__name__


def connect(url: str) -> RDBStorage:
    """Open the database, whose file or server must be there. Raises Error in one line where it cannot be."""
    place = parsed(url)
    try:
        with one_line(url):
            storage = _opened(place)
    except ImportError as error:  # Optuna's own says less than its cause
        cause = error.__cause__ or error
        name = getattr(cause, "name", None)
        if isinstance(cause, ModuleNotFoundError) and name:
            what = f" needs the package {name}: pip install {DRIVERS.get(name, name)}"
        else:
            what = f": {' '.join(str(cause).split())}"
        raise ConfigError(f"--storage: {masked(url)}{what}") from error
    except (RuntimeError, ValueError) as error:  # tables of another version of Optuna, a driver's option
        if isinstance(error, Error):
            raise
        raise ConfigError(f"--storage: {masked(url)}: {' '.join(str(error).split())}") from error
    if place.get_backend_name() == "sqlite":
        _serialize(storage)
    return storage


def _opened(place: "URL") -> RDBStorage:
    from sqlalchemy.exc import DatabaseError, NoSuchModuleError

    try:
        driver = place.get_dialect().driver
    except NoSuchModuleError as error:
        raise ConfigError(
            f"--storage: expected a database that SQLAlchemy knows, got {place.drivername}"
        ) from error
    options: dict[str, Any] = {"timeout": BUSY} if place.get_backend_name() == "sqlite" else {}
    if driver in TIMED and "connect_timeout" not in place.query:
        options["connect_timeout"] = WAIT
    for _ in range(ATTEMPTS):
        try:
            return _open(place, options)
        except DatabaseError as error:
            if not any(word in str(error).lower() for word in ("exists", "duplicate")):
                raise
            time.sleep(PAUSE)  # another process makes the same tables at this moment
    return _open(place, options)


def _open(place: "URL", arguments: dict[str, Any]) -> RDBStorage:
    from sqlalchemy.pool import NullPool

    # A file is opened for each transaction, so that none stays open after an error, or in another process.
    pool = {"poolclass": NullPool} if place.get_backend_name() == "sqlite" else {"pool_pre_ping": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of heartbeats
        storage = RDBStorage(
            text(place).replace("{", "{{").replace("}", "}}"),  # Optuna formats it
            engine_kwargs={"connect_args": arguments, **pool},
            heartbeat_interval=BEAT,
            grace_period=GRACE,
        )
    weakref.finalize(storage, storage.engine.dispose)  # Python 3.13 warns of connections that nobody closes
    return storage


def _serialize(storage: RDBStorage) -> None:
    """Begin each transaction with the lock of SQLite's file, so that two processes never begin one trial."""
    from sqlalchemy import event

    @event.listens_for(storage.engine, "connect")
    def leave_transactions_to_us(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(storage.engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    storage.engine.dispose()


def storage_of(folder: Path, url: str | None) -> BaseStorage:
    """The storage of the search in that folder, for one process."""
    if url is not None:
        return connect(url)
    path = str(folder / JOURNAL)
    return JournalStorage(JournalFileBackend(path, JournalFileOpenLock(path)))


def study_in(
    storage: BaseStorage, sampler: optuna.samplers.BaseSampler, pruner: optuna.pruners.BasePruner
) -> optuna.Study:
    """The study in the storage, made where there is none. Raises CheckpointError for a damaged journal."""
    optuna.logging.set_verbosity(logging.WARNING)
    in_journal = isinstance(storage, JournalStorage)
    for _ in range(2):
        try:
            return optuna.create_study(
                storage=storage,
                study_name=IN_JOURNAL if in_journal else IN_DATABASE,
                direction="maximize",
                sampler=sampler,
                pruner=pruner,
                load_if_exists=True,
            )
        except DuplicatedStudyError:
            continue  # another process made it at this moment
    raise AssertionError("a study is made once")


@contextmanager
def sound(path: Path) -> Iterator[None]:
    """CheckpointError for whatever Optuna raises where its journal is damaged."""
    try:
        yield
    except (ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{path}: expected a journal of Optuna: {error!r}") from error


def repair(path: Path) -> None:
    """Remove what a killed process may leave: half a line at the end of the journal, and a lock file."""
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if path.exists() and not (written := path.read_bytes()).endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(written.rfind(b"\n") + 1)


def has_trials(folder: Path, url: str | None) -> bool:
    """Whether the journal, or the file of SQLite, is there. True for a server."""
    if url is None:
        path = folder / JOURNAL
        return path.is_file() and b"\n" in path.read_bytes()
    place = parsed(url)
    file = place.database or ""
    return place.get_backend_name() != "sqlite" or file.startswith("file:") or Path(file).is_file()
