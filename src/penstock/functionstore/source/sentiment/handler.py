"""The mood of an English text, by the word list and rules of VADER (Hutto and Gilbert, 2014)."""

import re

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
analyzer = SentimentIntensityAnalyzer()


def handle(event, context):
    text = event.body.decode(errors="replace")
    sentences = [found.group().strip() for found in SENTENCE.finditer(text)]
    sentences = [sentence for sentence in sentences if sentence]
    return {
        "polarity": analyzer.polarity_scores(text)["compound"] if sentences else 0.0,
        "sentence_count": len(sentences),
        "sentences": [{"text": each, "polarity": analyzer.polarity_scores(each)["compound"]} for each in sentences],
    }
