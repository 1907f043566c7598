"""An OpenAI-compatible inference server without a model, to rehearse pipelines, tests and benchmarks against.

It never computes anything a model would: every answer is made from a hash of the request, and every
answer says so (the header `x-bulkrate-sandbox: true`, and a mark inside the body). What it does imitate
is a busy server: latency, capacity, a queue, rate limits and faults.

Same seed and same request body, same answer, down to the byte. `created` is therefore a fixed moment.
What may differ from call to call is in the headers (`x-request-id`, `x-ratelimit-*`) and in the failures.

Faults on request. The last user text (or the last prompt or input text) may hold directives:

    [[sandbox:status=503]]                  answer with this error status (400 to 599)
    [[sandbox:status=429,retry_after=2]]    the same, with a Retry-After header
    [[sandbox:html=502]]                    answer with this status and an HTML page, as proxies do
    [[sandbox:garbage]]                     answer 200 with text that is not JSON
    [[sandbox:truncate]]                    promise more bytes than are sent, then close the connection
    [[sandbox:drop]]                        close the connection without an answer
    [[sandbox:reset]]                       send half an answer, then reset the connection
    [[sandbox:slow=5000]]                   send the answer in small pieces, over so many milliseconds
    [[sandbox:crash]]                       die at once, with every connection; see `--restart-s`
    [[sandbox:fail_first=2]]                fail the first 2 calls with this same body (with 500), then answer
    [[sandbox:fail_first=2,drop]]           the same with any one of the failures above
    [[sandbox:sleep_ms=500]]                take this much longer
    [[sandbox:close]]                       close the connection after the answer, without having said so
    [[sandbox:pretty]]                      a good answer as JSON over several lines
    [[sandbox:bytes=1000000]]               a good answer of exactly this many bytes (more, if it needs more)

Directives add up, in one pair of brackets or in several: `[[sandbox:sleep_ms=1000,crash]]` kills the server
after it has worked on the line for a second. Refused with 400 are a directive it does not know, two failures
at once, and `fail_first` with `crash`: what is dead has stopped counting.
"""

from bulkrate.sandbox.app import Sandbox
from bulkrate.sandbox.keep import keep
from bulkrate.sandbox.options import SandboxOptions
from bulkrate.sandbox.serve import serve

__all__ = ["Sandbox", "SandboxOptions", "keep", "serve"]
