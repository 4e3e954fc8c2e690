"""A small text classifier: sentences with labels go in, the label of a new sentence comes out.

Words and letter groups, weighted by how telling they are, under a logistic regression. It is trained anew from its
examples (under a second for a thousand), so there is no model file to keep in step with them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_DIGITS = re.compile(r"\d+")
_NAME = re.compile(r"(?<=\s)[A-Z][\w-]*")


@dataclass(frozen=True, slots=True)
class Guess:
    """The most likely label and its probability (0 to 1)."""

    label: str
    probability: float


class IntentClassifier:
    """A trained pipeline; made by `train`, never changed afterwards."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._labels: list[str] = [str(label) for label in pipeline.classes_]

    def predict(self, text: str, without: Sequence[str] = ()) -> Guess:
        """Return the label `text` most likely has, other than those in `without`."""
        row = self._pipeline.predict_proba([signs(text)])[0]
        open_to = [index for index, label in enumerate(self._labels) if label not in without]
        best = max(open_to, key=lambda index: float(row[index]))
        return Guess(self._labels[best], float(row[best]))


def signs(text: str) -> str:
    """Return `text` as the classifier sees it: names and numbers are replaced by marks, since any may stand there."""
    marked = _DIGITS.sub(" 0 ", _NAME.sub("nnn", text))
    return f"^ {marked.lower()} {'?' if text.rstrip().endswith('?') else ''}"


def train(examples: Mapping[str, Sequence[str]]) -> IntentClassifier:
    """Return a classifier of `examples` (label to sentences); the same examples give the same classifier."""
    # Two seconds and 100 MB: only a sentence that no pattern fits is worth them.
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    words = TfidfVectorizer(token_pattern=r"[^\s,.!;:]+", ngram_range=(1, 2), sublinear_tf=True)
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    regression = LogisticRegression(C=20.0, class_weight="balanced", max_iter=400)
    pipeline = make_pipeline(make_union(words, letters), regression)
    sentences = [(signs(text), label) for label, texts in examples.items() for text in texts]
    pipeline.fit([text for text, _ in sentences], [label for _, label in sentences])
    return IntentClassifier(pipeline)
