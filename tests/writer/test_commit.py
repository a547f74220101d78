"""The decisions of a commit, step by step, without a disk."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tickbus.lake import manifest
from tickbus.lake.manifest import DataFile, Entry
from tickbus_schemas.errors import Fatal
from tickbus_writer.commit import Built, CommitOutcome, commit, recover, sweep
from tickbus_writer.steps import (
    Create,
    Discard,
    HashRows,
    Intend,
    Names,
    Place,
    Read,
    Remove,
    Seal,
    See,
    Steps,
    SyncFolders,
)
from tickbus_writer.target import Seen

PATH = "feed=trade/venue=okx/symbol=X/date=2024-08-08/MD_OKX-aa-0000000000005-0000000000009.parquet"
LINK = "_manifest/MD_OKX/.chain/0000000000005"
ENTRY = "_manifest/MD_OKX/aa-0000000000005-0000000000009.json"
FILE = DataFile(
    path=PATH,
    feed="trade",
    exchange="okx",
    ticker="X",
    date="2024-08-08",
    rows=3,
    size=0,
    checksum="",
    row_hash="ours",
    first_seq_id=50,
    last_seq_id=90,
    first_timestamp=1,
    last_timestamp=2,
    table="t",
)
DRAFT = Entry(
    stream="MD_OKX",
    incarnation="aa",
    first_seq=5,
    last_seq=9,
    first_stored_ns=1,
    last_stored_ns=2,
    cut="time",
    files=[],
    messages_with_rows=5,
    without_rows={},
    epochs=[],
    snapshots=[],
    empty_packets=[],
    previous="",
    previous_hash="",
)
TEMPORARY = Built("/tmp/1.tmp", FILE)
WHOLE = Seen(3, 700, "sum", 50, 90, "MD_OKX-aa-0000000000005-0000000000009")
COMMITTED = manifest.encode(
    msgspec.structs.replace(DRAFT, files=[msgspec.structs.replace(FILE, size=700, checksum="sum")])
)


def run(steps: Steps[Any], *script: tuple[Any, Any]) -> Any:
    """Hold `steps` to a script of (step, answer); the result."""
    answer: Any = None
    for expected, given in script:
        assert steps.send(answer) == expected
        answer = given
    with pytest.raises(StopIteration) as done:
        steps.send(answer)
    return done.value.value


BUILT = [
    (Seal(("/tmp/1.tmp",)), None),
    (See("/tmp/1.tmp"), WHOLE),
    (Intend((PATH,)), None),
]


def test_a_block_is_sealed_read_back_placed_linked_and_named() -> None:
    outcome: CommitOutcome = run(
        commit(DRAFT, [TEMPORARY]),
        *BUILT,
        (Place("/tmp/1.tmp", PATH), True),
        (See(PATH), WHOLE),
        (SyncFolders((PATH,)), None),
        (Create(LINK, COMMITTED), True),
        (Create(ENTRY, COMMITTED), True),
        (Intend(()), None),
    )
    assert outcome.won
    assert outcome.tip.next_seq == 10
    assert outcome.tip.entry == "aa-0000000000005-0000000000009.json"


def test_a_block_without_rows_is_an_entry_alone() -> None:
    data = manifest.encode(DRAFT)
    outcome: CommitOutcome = run(
        commit(DRAFT, []), (Create(LINK, data), True), (Create(ENTRY, data), True)
    )
    assert outcome.won


@pytest.mark.parametrize("seen", [None, WHOLE._replace(rows=2), WHOLE._replace(last_seq_id=89)])
def test_nothing_is_placed_when_the_disk_holds_something_else(seen: Seen | None) -> None:
    steps = commit(DRAFT, [TEMPORARY])
    steps.send(None)
    steps.send(None)
    with pytest.raises(Fatal, match="does not hold what was written"):
        steps.send(seen)


def test_a_file_in_place_with_the_same_rows_is_taken_as_it_is() -> None:
    """Its bytes may differ (another version of the library): the entry says what is there."""
    other = WHOLE._replace(size=701, checksum="other sum")
    data = COMMITTED.replace(b"700", b"701").replace(b'"sum"', b'"other sum"')
    run(
        commit(DRAFT, [TEMPORARY]),
        *BUILT,
        (Place("/tmp/1.tmp", PATH), False),
        (See(PATH), other),
        (HashRows(PATH), "ours"),
        (Discard("/tmp/1.tmp"), None),
        (See(PATH), other),
        (SyncFolders((PATH,)), None),
        (Create(LINK, data), True),
        (Create(ENTRY, data), True),
        (Intend(()), None),
    )


@pytest.mark.parametrize("torn", [True, False])
def test_an_uncommitted_file_with_other_rows_is_replaced(torn: bool) -> None:
    looks: list[tuple[Any, Any]] = [(See(PATH), None)]
    if not torn:
        looks = [(See(PATH), WHOLE), (HashRows(PATH), "others")]
    run(
        commit(DRAFT, [TEMPORARY]),
        *BUILT,
        (Place("/tmp/1.tmp", PATH), False),
        *looks,
        (Read(LINK), None),
        (Place("/tmp/1.tmp", PATH, replace=True), True),
        (See(PATH), WHOLE),
        (SyncFolders((PATH,)), None),
        (Create(LINK, COMMITTED), True),
        (Create(ENTRY, COMMITTED), True),
        (Intend(()), None),
    )


def test_a_committed_file_is_never_replaced() -> None:
    theirs = manifest.encode(
        msgspec.structs.replace(DRAFT, files=[msgspec.structs.replace(FILE, row_hash="others")])
    )
    outcome: CommitOutcome = run(
        commit(DRAFT, [TEMPORARY]),
        *BUILT,
        (Place("/tmp/1.tmp", PATH), False),
        (See(PATH), WHOLE),
        (HashRows(PATH), "others"),
        (Read(LINK), theirs),
        (See(PATH), WHOLE),
        (SyncFolders((PATH,)), None),
        (Create(LINK, COMMITTED), False),
        (Read(LINK), theirs),
        (Create(ENTRY, theirs), False),
        (Intend(()), None),
    )
    assert outcome.entry.files[0].row_hash == "others"


def test_who_comes_second_removes_its_files_and_goes_on_behind_the_winner() -> None:
    """The winner cut earlier; had it died right after its link, its entry is written here."""
    winner = msgspec.structs.replace(DRAFT, last_seq=7, cut="drain")
    theirs = manifest.encode(winner)
    outcome: CommitOutcome = run(
        commit(DRAFT, [TEMPORARY]),
        *BUILT,
        (Place("/tmp/1.tmp", PATH), True),
        (See(PATH), WHOLE),
        (SyncFolders((PATH,)), None),
        (Create(LINK, COMMITTED), False),
        (Read(LINK), theirs),
        (Create("_manifest/MD_OKX/aa-0000000000005-0000000000007.json", theirs), True),
        (Remove((PATH,)), None),
        (Intend(()), None),
    )
    assert not outcome.won
    assert outcome.entry == winner
    assert outcome.tip.next_seq == 8


def test_a_new_stream_begins_with_nothing() -> None:
    tip = run(
        recover("MD_OKX"), (Names("_manifest/MD_OKX/.chain"), []), (Names("_manifest/MD_OKX"), [])
    )
    assert tip.next_seq == 0


def test_a_link_without_entry_is_rolled_forward() -> None:
    tip = run(
        recover("MD_OKX"),
        (Names("_manifest/MD_OKX/.chain"), ["0000000000005"]),
        (Names("_manifest/MD_OKX"), []),
        (Read(LINK), COMMITTED),
        (Create(ENTRY, COMMITTED), True),
        (Read(LINK), COMMITTED),
    )
    assert (tip.next_seq, tip.entry) == (10, "aa-0000000000005-0000000000009.json")


def test_an_entry_without_link_gets_it_back() -> None:
    run(
        recover("MD_OKX"),
        (Names("_manifest/MD_OKX/.chain"), []),
        (Names("_manifest/MD_OKX"), ["aa-0000000000005-0000000000009.json", "notes.txt"]),
        (Read(ENTRY), COMMITTED),
        (Create(LINK, COMMITTED), True),
        (Read(LINK), COMMITTED),
    )


@pytest.mark.parametrize(
    ("links", "covering", "removed", "settled"),
    [
        ([], None, False, False),
        (["0000000000001"], msgspec.structs.replace(DRAFT, first_seq=1, last_seq=4), False, False),
        (["0000000000005"], msgspec.structs.replace(DRAFT, last_seq=7), True, True),
        (["0000000000001"], msgspec.structs.replace(DRAFT, first_seq=1, last_seq=99), True, True),
        (["0000000000005"], msgspec.structs.replace(DRAFT, files=[FILE]), False, True),
    ],
)
def test_what_a_dead_writer_placed_goes_once_it_can_no_longer_be_committed(
    links: list[str], covering: Entry | None, removed: bool, settled: bool
) -> None:
    script: list[tuple[Any, Any]] = [(Names("_manifest/MD_OKX/.chain"), links)]
    if covering is not None:
        path = f"_manifest/MD_OKX/.chain/{links[0]}"
        script.append((Read(path), manifest.encode(covering)))
    if removed:
        script.append((Remove((PATH,)), None))
    assert run(sweep([PATH]), *script) is settled
