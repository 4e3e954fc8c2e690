"""Which memories answer which questions: in other words, but of the same subject, relation and kind."""

from __future__ import annotations

import pytest
from agents_pc2.memory.judging import Verdict, judge
from agents_pc2.memory.questions import ask
from agents_pc2.memory.reading import read


def verdict(question: str, memory: str) -> Verdict:
    return judge(ask(question), read(memory))


@pytest.mark.parametrize(
    ("question", "memory"),
    [
        ("When is my sister's birthday?", "my sister's birthday is on June 3"),
        ("On which day was my sister born?", "my sister's birthday is on June 3"),
        ("Which town does Mirel Quonn call home?", "Mirel Quonn lives in Farnham"),
        ("What does Mirel do for a living?", "Mirel Quonn works as a beekeeper"),
        ("What shade does Anna like best?", "Anna's favourite colour is teal"),
        ("What can't Anna eat?", "Anna is allergic to walnuts"),
        ("Whom did Anna marry?", "Anna's husband is called Tom Bell"),
        ("What is the name of Anna's dog?", "Anna has a dog named Rex"),
        ("What pet does Anna have?", "Anna keeps a ferret"),
        ("Which instrument does Anna play?", "Anna plays the zelphon"),
        ("What colour is the Xorn boat?", "the Xorn boat is teal"),
        ("Where did I leave the spare key?", "the spare key is under the flowerpot"),
        ("How much did I pay for the Xorn lamp?", "the Xorn lamp cost 40 dollars"),
        ("Who owns the Xorn boat?", "the Xorn boat is Anna Bell's"),
        ("Whose birthday is on June 3?", "my sister's birthday is on June 3"),
        ("By when must the Xorn book be returned?", "the Xorn book is due on June 3"),
        ("What is my flight number?", "my flight number is X9041b"),
        ("What do you know about Anna?", "Anna's boss lives in Oslo"),
        ("Where does my sister live?", "My sister Anna lives in Oslo"),
        ("Who is Anna?", "My sister Anna lives in Oslo"),
    ],
)
def test_answers_in_other_words(question: str, memory: str) -> None:
    assert verdict(question, memory).answers


@pytest.mark.parametrize(
    ("question", "memory"),
    [
        ("Where does Mirel Quonn live?", "Mirel Vash lives in Farnham"),
        ("Where does Mirel Quonn live?", "Mirel Quonn's boss lives in Farnham"),
        ("Where does Anna live?", "Mina lives next door to Anna"),
        ("When is my sister's birthday?", "Anna's sister's birthday is on June 3"),
        ("When is my older sister's birthday?", "my younger sister's birthday is on June 3"),
        ("When is my birthday?", "my sister's birthday is on June 3"),
        ("What's my dog called?", "my sister's dog is called Rex"),
        ("What am I allergic to?", "Anna is allergic to walnuts"),
        ("Who is my best friend's boss?", "my best friend is Tom Bell"),
        ("When is Anna's wedding?", "Anna's wedding is in Farnham"),
        ("Where is Anna's wedding?", "Anna's wedding is on June 3"),
        ("What does Anna like?", "Anna hates mushrooms"),
        ("What food should Anna avoid?", "Anna loves mushroom risotto"),
        ("What is Anna's favourite food?", "Anna's favourite colour is teal"),
        ("Which book does Anna like?", "Anna likes the film Winter Engines"),
        ("What instrument does Anna play?", "Anna wants to borrow the Xorn violin case"),
        ("What colour is the Xorn boat?", "the Xorn boat is kept in the blue cupboard"),
        ("Who made the Xorn lamp?", "the Xorn lamp is made of brass"),
        ("How heavy is the Xorn lamp?", "the Xorn lamp cost 40 dollars"),
        ("When is my sister's birthday?", "When is my sister's birthday?"),
        ("What is the capital of France?", "my sister lives in Oslo"),
    ],
)
def test_does_not_answer_with_something_else(question: str, memory: str) -> None:
    assert not verdict(question, memory).answers


def test_the_exact_person_is_better_than_a_namesake_by_first_name() -> None:
    whole = verdict("Where does Mirel Quonn live?", "Mirel Quonn lives in Farnham")
    part = verdict("Where does Mirel Quonn live?", "Mirel lives in Farnham")
    assert whole.score > part.score > 0


def test_says_whom_both_speak_of() -> None:
    assert verdict("Where does Mirel live?", "Mirel Quonn lives in Farnham").about == ("mirel quonn",)
