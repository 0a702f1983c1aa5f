"""The score from which a person is counted, drawn and handed on, where nothing else is said.

A bottom-up network proposes many persons with small scores. Metrics want all of them, people do not.
`benchmarks/score_floor.py` says how it was chosen.
"""

__all__ = ["SCORE_FLOOR"]

SCORE_FLOOR = 0.3
