"""What travels: OpenAI's shapes, exactly.

Every object of the Files, Uploads, Batches, Models and Webhooks API, one noun a file, as frozen structs whose
fields are the JSON keys. All keys are always present, `null` where unset, because SDKs in stricter languages
count on it. Nothing here decides or touches anything.
"""
