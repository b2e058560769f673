"""The texts that the speed benchmarks run on."""

import math
import random

STORY = "Tell me a long story about a cat who lives in a lighthouse and reads to the sailors."
QUESTIONS = [
    "What is the capital of France?",
    "Name three fruits that grow on trees and say in one sentence each how they taste.",
    "Explain to a child why the sky is blue.",
    "Write a short note to a neighbour whose dog barks at night. Be kind, and suggest a talk over coffee.",
    "What is seven times eight?",
    "Give me five names for a bakery.",
    "Why do leaves fall in autumn? Answer for a gardener who wants to know when to rake, and mention light.",
    "Who wrote Hamlet?",
    "How do I boil an egg so that the yolk stays soft?",
    "List the planets of the solar system in order of their distance from the sun.",
    "What does a librarian do all day?",
    "Describe the smell of rain on dry ground in two sentences, without the word 'rain', as if for a blind reader.",
    "Is a tomato a fruit?",
    "What should I pack for a weekend in the mountains in late October, when nights are cold and paths are wet?",
    "Say hello.",
    "Write one line of a song about trains.",
]
SENTENCES = [
    "The meeting starts at nine.",
    "Please send me the report before Friday so that I can read it on the train.",
    "Our garden is full of flowers.",
    "She bought two tickets for the concert, but her brother could not come.",
    "Where is the nearest pharmacy?",
    "The price rose by five percent last year.",
    "I would like to change my reservation to the tenth of May, if that is still possible.",
    "Good morning.",
    "The old bridge was closed because of the storm, and traffic had to go through the village.",
    "We have no milk.",
    "He has worked in this hospital for twenty years.",
    "Turn left after the church and walk straight on until you see the river.",
    "My phone is broken.",
    "The museum is free on Sundays.",
    "Children under twelve must be accompanied by an adult at all times.",
    "Thank you for your help.",
]
PASSAGE = (
    "The museum opened in 1902 in the old harbour. It holds 4,000 ships' models, from fishing boats to steamers. "
    "In 1950 a fire destroyed the east wing, and the city rebuilt it in three years. Today the museum is free on "
    "Sundays, and children under twelve must be accompanied by an adult."
)
COPY = f"Repeat the following text word for word, and nothing else:\n\n{PASSAGE}"


def mixed_questions(count: int = 64) -> list[str]:
    """Questions of about 40 to 530 tokens in no order, most of them short and a few long, as people's are.

    Their lengths are even on a logarithmic scale.
    """
    order = random.Random(0)
    words = PASSAGE.split() * 8
    lengths = [round(math.exp(order.uniform(math.log(4), math.log(345)))) for _ in range(count)]
    return [f"What is text {number} about? {' '.join(words[:length])}" for number, length in enumerate(lengths)]
