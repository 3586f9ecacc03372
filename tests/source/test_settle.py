"""When a file that may still be growing is looked at again."""

import math

from streamcal.records import FileStat
from streamcal.source.settle import SettleQueue


def stat(size):
    """Return the stat of a file of this size."""
    return FileStat(size=size, mtime_ns=0, inode=1, device=1)


def test_a_file_is_due_after_the_settle_time():
    """A file found by listing waits; nothing is due before."""
    queue = SettleQueue(2.0, 10)
    queue.add("a", stat(1), 5.0, closed=False, hinted=False)
    assert queue.next_due == 7.0
    assert queue.pop_due(6.9) is None
    path, look = queue.pop_due(7.0)
    assert (path, look.stat, look.hinted) == ("a", stat(1), False)
    assert (len(queue), queue.next_due) == (0, math.inf)


def test_a_closed_file_is_due_at_once():
    """A file that was seen being closed overtakes those that settle, and loses no time waited."""
    queue = SettleQueue(2.0, 10)
    queue.add("a", stat(1), 5.0, closed=False, hinted=False)
    queue.add("b", stat(1), 5.5, closed=False, hinted=False)
    queue.add("b", stat(2), 6.0, closed=True, hinted=True)
    path, look = queue.pop_due(6.0)
    assert (path, look.stat, look.since, look.hinted) == ("b", stat(2), 5.5, True)
    assert queue.pop_due(6.0) is None
    assert len(queue) == 1


def test_finding_a_file_again_changes_nothing_but_that_an_event_told_of_it():
    """Neither the first look nor its time is lost when a hint follows a listing."""
    queue = SettleQueue(2.0, 10)
    queue.add("a", stat(1), 5.0, closed=False, hinted=False)
    queue.add("a", stat(2), 6.0, closed=False, hinted=True)
    path, look = queue.pop_due(7.0)
    assert (path, look.stat, look.hinted) == ("a", stat(1), True)


def test_a_changed_file_waits_anew_behind_the_others():
    """A postponed file must rest for the whole settle time; it remembers when it was noticed."""
    queue = SettleQueue(2.0, 10)
    queue.add("a", stat(1), 5.0, closed=False, hinted=False)
    queue.add("b", stat(1), 6.0, closed=False, hinted=False)
    _, look = queue.pop_due(7.0)
    queue.postpone("a", look, stat(2), 7.0)
    assert [queue.pop_due(9.0)[0], queue.pop_due(9.0)[1].since] == ["b", 5.0]


def test_it_tells_when_it_is_full_and_what_waits_longest():
    """Whoever fills the queue can see that it should stop."""
    queue = SettleQueue(2.0, 2)
    assert (queue.is_full, queue.oldest) == (False, None)
    queue.add("a", stat(1), 5.0, closed=False, hinted=False)
    queue.add("b", stat(1), 6.0, closed=True, hinted=True)
    assert (queue.is_full, queue.oldest) == (True, ("a", 5.0))
