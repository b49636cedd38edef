"""What may be wrong with the decays of a form that computes a chunk of steps at once, in words."""

from __future__ import annotations

from rnnspect.causes.known._misplaced_decays import DECAYS_ITSELF, NOT_DECAYED

ITS_OWN, EVERY, ADDED, NONE, ITSELF = "its own", "every", "added", "none", "itself"
"""Mistakes that an engine may make: a step reads what was handed on without the step's own decay (ITS_OWN), or without
any decay (EVERY); what the steps add is not decayed (ADDED); neither part is decayed (NONE); each step decays what it
adds itself (ITSELF)."""
ADDED_LATE, EARLIER, LATER, UNREAD = "added but its own", "earlier", "later", "all but its own"
"""More of them: a step reads what was added before it without the step's own decay (ADDED_LATE); each step has the
decay of the step before it (EARLIER) or after it (LATER); a step does not read what it adds itself (UNREAD)."""
MORE_CARRIED, MORE_ADDED, MORE_OF_ALL = "carried by a whole chunk", "added by a whole chunk", "all by a whole chunk"
"""More of them, where all decays are equal: the last chunk, which is shorter, decays as if it were a whole one."""
ONCE = (
    "Multiply what the chunk before handed on by the decays from the chunk's first step up to each step, each of them "
    "once: neither the cumulated product nor the cumulated sum may be shifted by a step."
)
_OF_LATER_STEPS = "Multiply what step s adds by the decays of the steps after it alone, from s + 1 on."
CARRY = "Hand on both: the state before the chunk, decayed by all of its steps, and what they added."
IN_CHUNKS, ROLLED, LATER_IN_CHUNKS = "earlier in its chunk", "earlier, the first its own", "later in its chunk"
LEFT, TWICE, BEFORE, DROPPED = "left out", "twice", "of the step before", "all but the last chunk"
KEPT, LAST_TWICE = "all but its own sums", "the last twice"
WORDS = {
    LEFT: "the decay of the first step of a chunk is left out: the state before it comes in whole",
    TWICE: "the decay of the first step of a chunk is included twice",
    BEFORE: "the decay of the step before a chunk is included once more",
    ITS_OWN: "the state before a chunk lacks each step's own decay: the product of decays is an exclusive one",
    EVERY: "the state before a chunk is not decayed by its steps",
    ADDED: "what steps add is not decayed by the steps after them",
    NONE: NOT_DECAYED,
    ADDED_LATE: "what earlier steps of a chunk added lacks the step's own decay",
    EARLIER: "each step decays the state by the decay of the step before it: a of t − 1, not of t",
    ROLLED: "each step but the first decays the state by the decay of the step before it: a of t − 1, not of t",
    LATER: "each step decays the state by the decay of the step after it: a of t + 1, not of t",
    LATER_IN_CHUNKS: "each step of a chunk decays the state by the decay of the step after it, the last by none",
    IN_CHUNKS: "each step of a chunk decays the state by the decay of the step before it, the first by none",
    ITSELF: DECAYS_ITSELF,
    UNREAD: "a step does not read what it adds itself: the mask of a chunk is without its diagonal",
    DROPPED: "a chunk hands on what its own steps added alone: the state before it is lost",
    KEPT: "a chunk hands on the state before it alone, decayed by its steps: what they added is lost",
    LAST_TWICE: "the decay of the last step of a chunk is included twice",
}
WORDS_OF_MORE = {
    MORE_CARRIED: "the state before the last chunk is decayed by as many steps as a whole chunk has",
    MORE_ADDED: "what the last chunk adds is decayed by as many steps as a whole chunk has",
    MORE_OF_ALL: "all of the last chunk, which is shorter, is decayed by as many steps as a whole chunk has",
}
OTHER = "of another step"
"""As `LATER`, but some steps have no decay at all."""
OWN_STEP = "Decay the state by the decay of the step itself: neither roll nor pad the decays by a step."
SHIFTED = (EARLIER, ROLLED, IN_CHUNKS, LATER, LATER_IN_CHUNKS)
IDS = {
    **dict.fromkeys(SHIFTED, ("decay-shifted", OWN_STEP)),
    ADDED: ("decay-left-out", _OF_LATER_STEPS),
    NONE: ("decay-left-out", _OF_LATER_STEPS),
    ITSELF: ("decay-own-step", _OF_LATER_STEPS),
    DROPPED: ("chunk-state-lost", CARRY),
    KEPT: ("chunk-state-lost", CARRY),
    UNREAD: ("line-state-read-early", "Read the new state, with what the step adds: a mask with its diagonal."),
}
"""The id of each mistake, and how to mend it; the id of all others is `chunk-decay-apart`."""
BOTH, READ, HANDED = "both", "read", "handed"
PLACES = {
    BOTH: "",
    READ: "in what the steps of a chunk read, not in what it hands on",
    HANDED: "in what a chunk hands on alone",
}
AT_EDGES = (LEFT, TWICE, BEFORE)
"""Mistakes that are made once per chunk, in the decays of its first step."""
OF_LINES = (ITS_OWN, EVERY, ADDED, NONE, ADDED_LATE, ITSELF, EARLIER, UNREAD)
"""Mistakes that are made at every step."""
HANDED_ON = (DROPPED, KEPT, LAST_TWICE)
"""Mistakes in what a chunk hands on, while its own steps are right."""
