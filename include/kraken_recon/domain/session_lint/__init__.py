"""Find the database sessions that Python source may leave open, by reading it and never by running it.

Invariants:
1. The source is only parsed: nothing of it, and nothing that it imports, is run or loaded.
2. What the rules cannot know they let pass. Whoever hands an open session to a caller, stores it in an object
   that closes it, or gives it to somebody else has passed on its ownership.
3. Every finding names line, rule and remedy (`rules.RULES`); an allowed line says why.
"""
