-- scratch_increment: add to a whole number; one that is not there is 0.
-- ARGV  7 name  8 how much
-- Returns {'done', sum}, {'type'} (no whole number), {'range'} (2^53 and beyond, where counting ends), {'full'}, {'reused'}.
-- Atomic because of two who read the same number.
local first = told(KEYS[2], ARGV[1], ARGV[2])
if first then return first end
local known = text_of(ARGV[7]) or '0'
if not string.match(known, '^-?%d+$') then return { 'type' } end
local sum = tonumber(known) + tonumber(ARGV[8])
if math.abs(tonumber(known)) >= 2 ^ 53 or math.abs(sum) >= 2 ^ 53 then return { 'range' } end
local text = string.format('%.0f', sum)
local refused = write({ [ARGV[7]] = text })
return refused and { refused } or done(text)
