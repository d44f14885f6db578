"""The explorer: a page of development to write, run and understand operations with.

`page/` is what a browser gets; of it `editor.js` is built from `editor/`, and `examples.json`
written by `make generate`.
"""
