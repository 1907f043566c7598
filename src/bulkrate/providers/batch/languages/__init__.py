"""Requests and answers, from OpenAI's terms into a vendor's and back.

Nothing is dropped without a word: a field is translated, harmless, or refused.
"""
