"""`memoryd demo`: a long conversation becomes memories, on real servers, told in words that a newcomer understands.

The map: `story` is the order of the chapters; `stage` is what they all use; a chapter is a file (`servers`, `remember`,
`ask`, `journey`, `edit`, `twice`, `forget`, `count`). Beside them: `ledger` is what must be true at the end, `voice`
prints, `look` searches every place for a text, `spans` receives the traces, `watch` sees what happens as it happens.
"""
