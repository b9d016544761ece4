"""Other ways to compute the same predictions; each module gives `Way`s, or says why it cannot."""
