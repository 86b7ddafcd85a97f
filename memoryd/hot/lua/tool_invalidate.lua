-- tool_invalidate: drop entries, computations in progress too: what these bring is not kept.
-- KEYS  1 cache  2 due
-- ARGV  1 entry ('' = any)  2 tool ('' = any)  3 tag ('' = any)  4 session tag ('' = any)
-- Returns how many went, and the names of those whose questions go.
-- Atomic because of a result that is put while we look at the others.
local cache, due, removed = KEYS[1], KEYS[2], 0
local function named(tags)
  for _, tag in ipairs(tags) do
    if tag == ARGV[3] then return true end
  end
  return ARGV[3] == ''
end
for _, name in ipairs(ARGV[1] ~= '' and { ARGV[1] } or redis.call('ZRANGE', due, 0, -1)) do
  local note = note_of(cache, name)
  if note and (ARGV[2] == '' or note.tool == ARGV[2]) and (ARGV[4] == '' or note.session == ARGV[4]) and named(note.tags) then
    drop(cache, due, name)
    removed = removed + 1
  end
end
return { removed, dropped }
