package population

// ReadCurvesUpTo is ReadCurves with a limit that a test can reach.
var ReadCurvesUpTo = readCurves
