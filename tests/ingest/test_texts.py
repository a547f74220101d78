"""Texts as columns give back what they were made of, in any order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tickbus_ingest.session.texts import Texts

ascii_texts = st.lists(st.text(st.characters(max_codepoint=127), max_size=70), max_size=12)


@given(texts=ascii_texts, data=st.data())
def test_texts_are_taken_and_joined_as_lists_are(texts: list[str], data: st.DataObject) -> None:
    columns = Texts.of(texts)
    assert (len(columns), columns.tolist()) == (len(texts), texts)
    places = st.lists(st.integers(0, len(texts) - 1), max_size=12) if texts else st.just([])
    rows = data.draw(places)
    taken = columns.take(np.array(rows, np.int64))
    assert taken.tolist() == [texts[n] for n in rows]
    assert Texts.joined([columns, taken, columns]).tolist() == [*texts, *taken.tolist(), *texts]


@given(texts=ascii_texts)
def test_the_same_text_has_the_same_number_and_others_have_others(texts: list[str]) -> None:
    numbers = Texts.of(texts).hashes().tolist()
    assert len(set(zip(texts, numbers, strict=True))) == len(set(texts)) == len(set(numbers))
