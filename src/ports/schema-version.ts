/** Number of the newest file in `sql/` that this program was written for. A test holds it to the folder. */
export const schemaVersion = 33
