-- session_rejournal: write a session into the journal again, as it is here, so that the archive gets it once more.
-- KEYS  1 session  2 journal
-- ARGV  1-6 place  7 traceparent  8 most messages of one entry
-- Returns the number of entries written, 0 without a session. The archiver ignores what it holds already.
-- Atomic because the entries must be the session of one moment.
local place, key, journal, most = place_of(ARGV), KEYS[1], KEYS[2], tonumber(ARGV[8])
local session = session_of(key)
if not session then return 0 end
local version, count = whole(session.version), 0

local function again(collection, first, texts)
  local parts = place_of(ARGV)
  parts.collection = collection
  count = count + 1
  return journal_place(journal, 'parts', ARGV[7], parts, version,
    { 'first', whole(first), 'body', '[' .. table.concat(texts, ',') .. ']' })
end
local function numbers_of(path)
  local numbers = {}
  for _, number in ipairs(redis.call('JSON.OBJKEYS', key, path)[1] or {}) do numbers[#numbers + 1] = tonumber(number) end
  table.sort(numbers)
  return numbers
end
local function named(path, entry)
  redis.call('JSON.SET', key, path .. '.entry', '"' .. entry .. '"')
end

local numbers, from = numbers_of('$.messages'), 1
while from <= #numbers do
  local to = from
  while to < #numbers and numbers[to + 1] == numbers[to] + 1 and to - from + 1 < most do to = to + 1 end
  local texts = {}
  for i = from, to do texts[#texts + 1] = text_of(key, message_path(numbers[i]) .. '.message') end
  local entry = again('messages', numbers[from], texts)
  for i = from, to do named(message_path(numbers[i]), entry) end
  from = to + 1
end
for _, number in ipairs(numbers_of('$.checkpoints')) do
  named(checkpoint_path(number), again('checkpoints', number, { text_of(key, checkpoint_path(number) .. '.checkpoint') }))
end
local entry = journal_place(journal, 'document', ARGV[7], place, version, { 'body', text_of(key, '$.head') })
redis.call('JSON.SET', key, '$.entries', '"' .. entries_with(session.entries, journal, entry) .. '"')
return count + 1
