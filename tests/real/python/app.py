"""A Flask shop without a line of telemetry code; `opentelemetry-instrument` does the rest, as in the field.

/checkout asks the Node app for a price (one trace through both, slow enough to be kept), /fast answers at once.
"""

import os

import flask
import requests

app = flask.Flask(__name__)
PRICES = os.environ["PRICES_URL"]


@app.get("/checkout")
def checkout():
    price = requests.get(f"{PRICES}/price", timeout=10)
    return flask.jsonify(total=price.json()["price"])


@app.get("/fast")
def fast():
    return "ok"


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ["PORT"]))
