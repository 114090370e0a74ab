"""Ask which of some images a model was trained on, and say no more than can be shown.

`audit` scores a folder and judges it; `ledger` checks an owner's signed list. Stands on plain
functions, arrays and files.
"""
