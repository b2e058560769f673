"""Tools for text that need no model: splitting, languages, what must survive a translation, facts, chatty replies."""
