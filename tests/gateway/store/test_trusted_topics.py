from __future__ import annotations

from gateway.store.control import TOPICS
from gateway.store.trusted_topics import forget_topics, trust_topics, trusted_topics

ONE, TWO = (f"arn:aws:sns:eu-west-1:123456789012:{name}" for name in ("one", "two"))


def test_topics_are_added_to_those_that_are_known(stores):
    assert trusted_topics(stores.db) == frozenset()
    assert trust_topics(stores.db, [ONE], actor="ann")
    assert trust_topics(stores.db, [TWO, ONE], actor="ann")
    assert trusted_topics(stores.db) == {ONE, TWO}
    assert stores.control.get(TOPICS) == {"arns": [ONE, TWO]}


def test_what_is_trusted_already_changes_nothing(stores):
    trust_topics(stores.db, [ONE], actor="ann")
    assert not trust_topics(stores.db, [ONE], actor="bob")
    assert not forget_topics(stores.db, [TWO], actor="bob")
    with stores.db.read() as sql:
        assert sql.all("SELECT actor, action, subject FROM audit WHERE subject = ?", (ONE,)) == [
            ("ann", "trust topics", ONE)
        ]


def test_forgetting_leaves_the_others(stores):
    trust_topics(stores.db, [ONE, TWO], actor="ann")
    assert forget_topics(stores.db, [ONE], actor="ann")
    assert trusted_topics(stores.db) == {TWO}


def test_what_somebody_else_wrote_there_is_not_trusted(stores):
    stores.control.put(TOPICS, {"arns": "all of them"})
    assert trusted_topics(stores.db) == frozenset()
    assert trust_topics(stores.db, [ONE], actor="ann")
    assert trusted_topics(stores.db) == {ONE}
