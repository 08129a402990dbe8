"""The command line from a checkout: `python run.py train ner`. Installed, the same program is `nlp-app`."""

from nlp_app.cli import main

if __name__ == "__main__":
    main()
