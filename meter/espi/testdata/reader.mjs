// Prints what a published reader of Green Button (npm, @cityssm/green-button-parser)
// understands of a feed on standard input: a line for each value.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import fs from 'node:fs'

const require = createRequire(process.argv[2] + '/')
const { atomToGreenButtonJson, helpers } = await import(pathToFileURL(require.resolve('@cityssm/green-button-parser')))
const feed = await atomToGreenButtonJson(fs.readFileSync(0, 'utf8'))
for (const entry of feed.entries) {
  for (const block of entry.content.IntervalBlock ?? []) {
    const type = helpers.getReadingTypeEntryFromIntervalBlockEntry(feed, entry).content.ReadingType
    const point = helpers.getUsagePointEntryFromIntervalBlockEntry(feed, entry)
    for (const r of block.IntervalReading) {
      console.log(point.id, type.flowDirection, type.uom, r.timePeriod.start, r.timePeriod.duration, r.value * 10 ** type.powerOfTenMultiplier)
    }
  }
}
