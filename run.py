"""Run the command line from a checkout, for example `python run.py train ner`. Once installed, it is `nlp-app`."""

from nlp_app.cli import main

if __name__ == "__main__":
    main()
