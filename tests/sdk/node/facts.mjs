// What the official Node SDK can do with files, uploads, batches and webhooks, each as one fact.
// Run by test_node_sdk.py:  node facts.mjs BASE_URL NAME
// Exits with 0 when the fact holds.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createReadStream, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

import OpenAI, { AzureOpenAI, toFile } from "openai";

const [baseURL, name] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "any", maxRetries: 0 });

const line = (customId, text = "hello", more = {}) => ({
  custom_id: customId,
  method: "POST",
  url: "/v1/chat/completions",
  body: { model: "gpt-4o-mini", messages: [{ role: "user", content: text }], ...more },
});
const jsonl = (...lines) => lines.map((each) => JSON.stringify(each) + "\n").join("");
const content = jsonl(...Array.from({ length: 5 }, (_, n) => line(`row-${n}`)));

const upload = async (text = content, purpose = "batch") =>
  client.files.create({ file: await toFile(Buffer.from(text), "input.jsonl"), purpose });

const submit = async (text = content, more = {}, options = {}) =>
  client.batches.create(
    { input_file_id: (await upload(text)).id, endpoint: "/v1/chat/completions", completion_window: "24h", ...more },
    options,
  );

// Polls another process, which has no other way to tell us.
const ended = async (batch, using = client) => {
  while (!["completed", "failed", "expired", "cancelled"].includes(batch.status)) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    batch = await using.batches.retrieve(batch.id);
  }
  return batch;
};

const linesOf = async (fileId) =>
  (await (await client.files.content(fileId)).text()).trim().split("\n").map((text) => JSON.parse(text));

const all = async (pages, enough = Infinity) => {
  const found = [];
  for await (const each of pages) {
    found.push(each.id);
    if (found.length >= enough) break;
  }
  return found;
};

const facts = {
  async a_batch_from_beginning_to_end() {
    const batch = await submit(content, {
      metadata: { who: "node" },
      output_expires_after: { anchor: "created_at", seconds: 3600 },
    });
    assert.equal(batch.status, "validating");
    const done = await ended(batch);
    assert.equal(done.status, "completed");
    assert.deepEqual(done.request_counts, { total: 5, completed: 5, failed: 0 });
    assert.deepEqual(done.metadata, { who: "node" });
    assert.equal(done.error_file_id, null);
    const answers = await linesOf(done.output_file_id);
    assert.deepEqual(new Set(answers.map((each) => each.custom_id)), new Set([0, 1, 2, 3, 4].map((n) => `row-${n}`)));
    const output = await client.files.retrieve(done.output_file_id);
    assert.equal(output.expires_at, output.created_at + 3600);
    assert.ok(done._request_id.startsWith("req_"));
  },

  async files_are_given_waited_for_read_and_deleted() {
    const path = join(tmpdir(), `bulkrate-${process.pid}.jsonl`);
    writeFileSync(path, content);
    const file = await client.files.create({
      file: createReadStream(path),
      purpose: "batch",
      expires_after: { anchor: "created_at", seconds: 7200 },
    });
    assert.equal(file.filename, `bulkrate-${process.pid}.jsonl`);
    assert.equal(file.expires_at, file.created_at + 7200);
    const started = Date.now();
    assert.equal((await client.files.waitForProcessing(file.id)).status, "processed");
    assert.ok(Date.now() - started < 4000);
    assert.equal(await (await client.files.content(file.id)).text(), content);
    assert.equal((await client.files.delete(file.id)).deleted, true);
    await assert.rejects(client.files.retrieve(file.id), OpenAI.NotFoundError);
  },

  async lists_are_paged_through() {
    const files = [];
    for (let n = 0; n < 5; n++) files.push((await upload("x", "evals")).id);
    assert.deepEqual((await all(client.files.list({ purpose: "evals", limit: 2 }), 5)), files.slice().reverse());
    const ascending = await all(client.files.list({ purpose: "evals", limit: 2, order: "asc" }));
    assert.deepEqual(ascending.slice(-5), files);
    const batches = [];
    for (let n = 0; n < 5; n++) batches.push((await submit()).id);
    assert.deepEqual(await all(client.batches.list({ limit: 2 }), 5), batches.slice().reverse());
    const page = await client.batches.list({ limit: 2, after: batches[2] });
    assert.deepEqual(page.data.map((each) => each.id), [batches[1], batches[0]]);
  },

  async uploads_come_in_parts() {
    const bytes = Buffer.from(content);
    const begun = await client.uploads.create({
      filename: "big.jsonl",
      purpose: "batch",
      bytes: bytes.length,
      mime_type: "application/jsonl",
    });
    assert.equal(begun.status, "pending");
    const pieces = [];
    for (let place = 0; place < bytes.length; place += 100) pieces.push(bytes.subarray(place, place + 100));
    const parts = await Promise.all(
      pieces.map(async (piece) => client.uploads.parts.create(begun.id, { data: await toFile(piece, "part") })),
    );
    const partIds = parts.map((part) => part.id);
    await assert.rejects(
      client.uploads.complete(begun.id, { part_ids: partIds, md5: "0".repeat(32) }),
      OpenAI.BadRequestError,
    );
    const md5 = createHash("md5").update(bytes).digest("hex");
    const done = await client.uploads.complete(begun.id, { part_ids: partIds, md5 });
    assert.equal(done.status, "completed");
    assert.equal(await (await client.files.content(done.file.id)).text(), content);
    const other = await client.uploads.create({ filename: "a", purpose: "vision", bytes: 1, mime_type: "image/png" });
    assert.equal((await client.uploads.cancel(other.id)).status, "cancelled");
  },

  async errors_have_their_classes() {
    await assert.rejects(client.batches.retrieve("batch_none"), (error) => {
      assert.ok(error instanceof OpenAI.NotFoundError);
      assert.equal(error.type, "invalid_request_error");
      assert.ok(error.requestID.startsWith("req_"));
      return true;
    });
    await assert.rejects(
      client.batches.create({ input_file_id: "file-1", endpoint: "/v1/none", completion_window: "24h" }),
      (error) => {
        assert.ok(error instanceof OpenAI.BadRequestError);
        assert.deepEqual([error.code, error.param], ["invalid_value", "endpoint"]);
        return true;
      },
    );
    const patient = new OpenAI({ baseURL, apiKey: "any", maxRetries: 2 });
    const batch = await ended(await submit());
    const started = Date.now();
    await assert.rejects(patient.batches.cancel(batch.id), OpenAI.ConflictError);
    assert.ok(Date.now() - started < 450, "a conflict was retried");
    const failed = await ended(await submit(jsonl(line("a", "x", { stream: true }))));
    assert.deepEqual(
      failed.errors.data.map((fault) => [fault.code, fault.param, fault.line]),
      [["streaming_unsupported", "body.stream", 1]],
    );
  },

  async a_batch_is_cancelled() {
    const slow = [1, 2, 3].map((n) => line(`${n}`, "[[sandbox:sleep_ms=500]]"));
    const batch = await submit(jsonl(...slow));
    assert.ok(["cancelling", "cancelled"].includes((await client.batches.cancel(batch.id)).status));
    assert.equal((await ended(batch)).status, "cancelled");
  },

  async extensions_pass_through() {
    const text = jsonl(line("good")) + '{"custom_id": "bad"}\n';
    const headers = { "Idempotency-Key": `node-${process.pid}-${Date.now()}` };
    const batch = await submit(text, { on_invalid_line: "isolate" }, { headers });
    const done = await ended(batch);
    assert.equal(done.status, "completed");
    assert.equal(done.progress.done, 2);
    const answers = await client.post("/batches/run", { body: { requests: [line("x").body] } });
    assert.equal(answers.data[0].response.status_code, 200);
    const [error] = await linesOf(done.error_file_id);
    assert.deepEqual([error.custom_id, error.response], ["bad", null]);
  },

  async a_delivery_is_unwrapped() {
    const came = [];
    let tell = () => {};
    const server = createServer((request, response) => {
      const chunks = [];
      request.on("data", (chunk) => chunks.push(chunk));
      request.on("end", () => {
        came.push({ headers: request.headers, body: Buffer.concat(chunks).toString() });
        response.end();
        tell();
      });
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    // The Node SDK has no methods for endpoints yet, as the Python SDK does.
    const url = `http://127.0.0.1:${server.address().port}/hook`;
    const asked = { name: "node", url, event_types: ["batch.completed"] };
    const endpoint = await client.post("/webhook_endpoints", { body: asked });
    try {
      const batch = await ended(await submit());
      const mine = () => came.find(({ body }) => body.includes(batch.id)); // others may end meanwhile
      while (!mine()) await new Promise((resolve) => (tell = resolve));
      const { body, headers } = mine();
      const event = await client.webhooks.unwrap(body, headers, endpoint.signing_secret);
      assert.deepEqual([event.type, event.data.id, event.object], ["batch.completed", batch.id, "event"]);
      await assert.rejects(client.webhooks.unwrap(body + " ", headers, endpoint.signing_secret));
    } finally {
      await client.delete(`/webhook_endpoints/${endpoint.id}`);
      server.close();
      server.closeAllConnections();
    }
  },

  async models_are_listed() {
    assert.ok((await all(client.models.list())).includes("gpt-4o-mini"));
    assert.equal((await client.models.retrieve("gpt-4o-mini")).object, "model");
  },

  async azures_client_does_the_same() {
    const azure = new AzureOpenAI({
      endpoint: new URL(baseURL).origin,
      apiKey: "any",
      apiVersion: "2024-10-21",
      maxRetries: 0,
    });
    const file = await azure.files.create({ file: await toFile(Buffer.from(content), "a.jsonl"), purpose: "batch" });
    const batch = await azure.batches.create({
      input_file_id: file.id,
      endpoint: "/chat/completions",
      completion_window: "24h",
    });
    assert.equal((await ended(batch, azure)).status, "completed");
  },
};

await facts[name]();
