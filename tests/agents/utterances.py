"""Sentences that the code has never seen, with what they want, and a way to make facts about invented people.

None of them stands in agents/shared; `test_nlu` checks that.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

HELD_OUT: dict[str, list[str]] = {
    "remember": [
        "Remember that the gardener comes on alternate Tuesdays.",
        "Could you please remember that Ludvik takes two sugars?",
        "please keep in mind that my locker number is 207",
        "Don't forget: Hilde's train gets in at 18:20.",
        "My brother-in-law repairs accordions.",
        "The spare bulbs are in the cupboard under the sink.",
        "I was born in Rotterdam.",
        "Our dog's vet is called Dr Lindqvist.",
        "I put the warranty card in the blue binder.",
        "Make a note that the heating engineer's name is Aldous.",
        "Vikram owns three motorbikes.",
        "my wife's shoe size is 38, remember that",
        "Just so you know, the back door sticks in winter.",
        "FYI the school play is on the ninth of December",
        "Tandaan mo na si Jun ay allergic sa penicillin.",
        "Ang paborito kong kulay ay berde.",
        "Huwag mong kalimutan na nasa garahe ang hagdan.",
        "Yung password ng laptop ko ay kalabaw88.",
        "Nakatira ang pinsan ko sa Davao.",
        "remember mo na yung dentist ko ay si Dra. Cruz",
    ],
    "recall": [
        "When does the gardener come?",
        "How many sugars does Ludvik take?",
        "What was my locker number again?",
        "Can you tell me when Hilde's train arrives?",
        "Who repairs accordions?",
        "Where would I find the spare bulbs?",
        "In which town was I born?",
        "Do you know the name of our dog's vet?",
        "Where's the warranty card?",
        "What's the heating engineer called?",
        "How many motorbikes does Vikram own?",
        "what size shoes does my wife wear",
        "Which door sticks in winter?",
        "What time does the school play start?",
        "What is the date of the school play?",
        "Saan nakatira ang pinsan ko?",
        "Ano ang paborito kong kulay?",
        "Kanino allergic si Jun?",
        "nasaan nga ba yung hagdan",
        "ano ulit yung password ng laptop ko?",
    ],
    "forget": [
        "Forget what I said about the gardener.",
        "Erase my locker number from your memory.",
        "Please forget that Ludvik takes sugar.",
        "Delete the note about the warranty card.",
        "You can forget the laptop password.",
        "Kalimutan mo na yung tungkol sa hagdan.",
        "remove Vikram's motorbikes from your memory",
        "Stop remembering my shoe size.",
    ],
    "greeting": ["Hello!", "Hey there", "Good morning, assistant", "Magandang hapon po", "hiya again", "Hi hi",
                 "Good day!", "Kumusta?"],
    "farewell": ["Bye!", "See you on the other side, goodbye", "Good night!", "I have to run, talk later",
                 "Paalam na po", "ingat, bukas ulit", "Catch you tomorrow", "Farewell, friend"],
    "thanks": ["Thanks!", "Thank you ever so much", "Salamat ha", "Cheers, that did it", "I appreciate all of this",
               "maraming salamat sa paalala", "thank you for the quick answer", "Many thanks indeed"],
    "help": ["Help!", "Can you help me, please?", "How do I use this thing?", "I need a hand here",
             "Tulungan mo nga ako", "what should I do first", "Give me some help", "paano ka ba gamitin"],
    "capabilities": ["What can you do?", "What are your skills?", "Tell me everything you are able to do",
                     "Ano ba ang kaya mong gawin?", "which tasks can you take on", "What else can you do for me?",
                     "How can you help me?", "what kind of questions do you answer"],
    "time": ["What time is it right now?", "Could you tell me the time?", "do you have the time", "Anong oras na po?",
             "what's the time in Berlin", "Tell me the current time please", "what hour is it now", "oras na?"],
    "date": ["What's the date today?", "Which day is it today?", "What day is tomorrow?", "Anong petsa na?",
             "what is today's date please", "Tell me what day it is", "what year is this", "anong araw ba ngayon"],
    "weather": ["What's the weather going to be like tomorrow?", "Is it going to rain tonight?",
                "How cold will it get this weekend?", "weather in Lisbon", "Uulan ba mamaya?",
                "Do I need a raincoat?", "is it windy out there", "Kumusta ang panahon bukas?"],
    "calculate": ["What is 17 times 23?", "calculate 144 / 12", "how much is 12.5 percent of 640", "(4 + 5) * 6",
                  "What's 1024 minus 24?", "ilan ang 9 times 9", "compute the square root of 81",
                  "add 230 and 45 for me"],
    "reminder": ["Remind me to feed the fish at 7", "Set a reminder to call Aldous on Monday",
                 "Can you remind me tomorrow that the bins go out?", "Paalalahanan mo ako na magdala ng payong bukas",
                 "don't let me forget to lock the shed", "Remember to buy eggs on Saturday",
                 "create a reminder for the school play", "remind mo ako mamaya na tumawag kay Jun"],
    "timer": ["Set a timer for 12 minutes", "start a three minute timer", "timer, 45 seconds",
              "Give me a 20 minute timer", "mag-timer ka ng sampung minuto", "count down from 30 seconds",
              "cancel my timer", "put 8 minutes on the timer"],
    "alarm": ["Wake me at 6:15", "Set an alarm for quarter to eight", "gisingin mo ako ng alas siyete",
              "I need an alarm at 5 tomorrow", "turn my alarm off", "please wake me up early on Friday"],
    "command": ["Delete the file budget_old.xlsx", "run the cleanup script", "Restart the server",
                "Burahin mo ang file na lumang.txt", "open the calculator app", "shut down my computer",
                "execute df with -h", "install the latest updates now"],
    "vision": ["What do you see?", "Take a picture of the garden", "Describe the picture on the desk",
               "ano ang nakikita mo ngayon", "who is standing in front of the camera", "analyze this photo"],
    "play_music": ["Play some bossa nova music", "put on my favourite album", "play Clair de Lune by Debussy",
                   "Magpatugtog ka ng kundiman", "I want to listen to jazz", "turn on some music"],
    "stop_music": ["Stop the music", "pause this song", "turn the radio off", "itigil mo muna yung tugtog"],
    "volume_up": ["Turn it up", "Increase the volume please", "make the music louder", "lakasan mo yung music"],
    "volume_down": ["Turn the sound down", "lower the volume please", "not that loud", "hinaan mo yung tugtog"],
    "search": ["Search the web for beekeeping courses", "google the distance to the moon",
               "look up train strikes online", "i-search mo yung lyrics ng Anak", "find a knitting pattern on the web"],
    "summarize": ["Summarize the following article", "give me a short summary of this letter",
                  "sum up the chapter for me", "ibuod mo ang balita"],
    "smalltalk": [
        "How are you?", "Who are you?", "Tell me another joke", "I'm feeling lonely tonight", "You're funny",
        "What's your favourite food?", "do you ever get tired", "that is hilarious", "I had such a rotten day",
        "Kumusta ka naman?", "napapagod na ako sa trabaho", "are you a real person", "I am so excited today",
        "haha nice", "my boss drives me crazy", "let's just talk for a while",
    ],
}

_NAMES = ("Torvald", "Ysolde", "Quillon", "Marwen", "Zephrine", "Oskild", "Brannoch", "Lyrelle", "Vantik", "Ombra")
_LAST = ("Pellwick", "Drummel", "Asterby", "Korvane", "Thistlewood", "Yarrowgate", "Minchin", "Sollander")
_PLACES = ("Vellmar", "Ostrath", "Kingsbarrow", "Lunden Bay", "Tarrowmere", "Quenby", "Saltholm", "Brackwater")
_THINGS = ("bicycle", "kayak", "telescope", "greenhouse", "typewriter", "motorcycle", "harpsichord", "caravan")
_COLOURS = ("turquoise", "crimson", "olive green", "pale yellow", "violet", "copper", "charcoal", "ivory")
_FOODS = ("lentil soup", "plum cake", "grilled halloumi", "pickled herring", "saffron rice", "chestnut pie")
_JOBS = ("beekeeper", "glazier", "tram driver", "botanist", "luthier", "cartographer", "midwife", "stonemason")
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October")
_LEADS = ("Remember that {}", "Please remember that {}", "Keep in mind that {}", "Don't forget that {}", "Note that {}",
          "{}", "Please note: {}", "{}, remember that", "I want you to remember that {}", "For future reference, {}")

_FACTS = (
    ("{name}'s birthday is on {month} {day}", "When was {name} born?", "Which day is {name}'s birthday?"),
    ("{name} lives in {place}", "Where is {name}'s home?", "Which town does {name} live in?"),
    ("{name} works as a {job}", "What does {name} do for a living?", "What is {name}'s profession?"),
    ("{name}'s {thing} is {colour}", "What colour is the {thing} of {name}?", "Which colour has {name}'s {thing}?"),
    ("{name}'s favourite food is {food}", "What does {name} like to eat most?", "Which dish does {name} love?"),
    ("my {thing} is stored in {place}", "Where do I keep my {thing}?", "In which place is my {thing}?"),
    ("the meeting with {name} starts at {day}:30", "What time does the meeting with {name} begin?",
     "When do I meet {name}?"),
    ("{name} is married to {other}", "Who is {name}'s spouse?", "Whom did {name} marry?"),
    ("{name}'s phone number is 555 01{day}", "How can I reach {name} by phone?", "What number do I dial for {name}?"),
    ("the door code at {name}'s office is {day}42", "Which code opens the door of {name}'s office?",
     "How do I get into the office of {name}?"),
)


@dataclass(frozen=True)
class Told:
    """A fact as it is told, its bare content, and two questions about it."""

    told: str
    content: str
    questions: tuple[str, str]


def invented_facts(count: int, seed: int) -> list[Told]:
    """Return `count` facts about invented people and things, the same for the same seed."""
    chance = random.Random(seed)
    facts = []
    for index in range(count):
        content, *questions = _FACTS[index % len(_FACTS)]
        words = {
            "name": f"{chance.choice(_NAMES)} {chance.choice(_LAST)}", "other": f"{chance.choice(_NAMES)} Vale",
            "place": chance.choice(_PLACES), "thing": chance.choice(_THINGS), "colour": chance.choice(_COLOURS),
            "food": chance.choice(_FOODS), "job": chance.choice(_JOBS), "month": chance.choice(_MONTHS),
            "day": str(chance.randint(10, 28)),
        }
        fact = content.format(**words)
        lead = chance.choice(_LEADS)
        told = lead.format(fact if lead.index("{}") else fact[0].upper() + fact[1:])
        facts.append(Told(told + ".", fact, (questions[0].format(**words), questions[1].format(**words))))
    return facts
