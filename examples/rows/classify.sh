#!/bin/sh
# From rows to answers on the command line: a label for every review.
#
#     OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=any sh examples/rows/classify.sh
#
# Stop it with Ctrl-C and start it again: it goes on. Start it once more: nothing is sent.
set -e
reviews=$(dirname "$0")/../reviews.jsonl

bulkrate classify "$reviews" --column text --labels positive,negative,neutral --other \
  --model "${MODEL:-gpt-4o-mini}" --max-tokens 20 --max-cost 1 --yes \
  --id id --name reviews --fail-under 99% --output labelled.csv

bulkrate jobs history reviews
