"""Everything impure: recipe, plan, sources, runners, exchange, ledger, store, report and the command line.

    recipe.py -> plan.py -> run.py -> (engine.py over runners/) -> parts on disk -> manifest.json, report.html
"""
