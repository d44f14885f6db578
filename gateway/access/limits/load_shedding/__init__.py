"""Refuse early what could only be answered late: reports first, then decisions, ingest last.

How many requests may be under way is found out, not set. As CoDel does with a queue (Nichols and
Jacobson, "Controlling Queue Delay", ACM Queue 2012), we look at delay, not at length: the latency
of a request beyond the least that work of its kind has recently taken is the time it spent
waiting, somewhere in the services or in our own event loop. When most requests of an interval
waited longer than a target, there is a standing queue, and the limit shrinks by a fifth; when they
did not and the limit is in use, it grows by a twentieth. Netflix's concurrency-limits taught the
rest: a limit that is not in use is not judged, and one client may not use what another needs.

- A kind of work is an operation's root fields, so that a slow report is compared with reports.
- The least latency ages, but not while there is a queue: else a lasting overload would in time
  look normal. Only a limit at its floor lets it age, for then nothing else can be the cause.
- Every class has a limit of its own beside the total one. If all classes wait, the total limit
  shrinks; if one does and others do not, only its own.
- Planning an operation takes longer than answering one that is known, so new ones are refused as
  reports are, and when the event loop has been late for a second.
- Of the total limit reports may use 40%, decisions 70%, and ingest 30% more than there is: what
  is kept free for a higher class is never taken by a lower one, however much of it there is.
"""

from gateway.access.limits.load_shedding.admission import Admission
from gateway.access.limits.load_shedding.load_shedder import LoadShedder, LoadTuning
from gateway.access.limits.load_shedding.workload import Priorities, WorkClass, Workload

__all__ = ["Admission", "LoadShedder", "LoadTuning", "Priorities", "WorkClass", "Workload"]
