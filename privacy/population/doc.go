// Package population draws households that do not exist, and reads others from
// files, so that releases can be planned and measured without anybody's data.
//
// # Promise
//
// A [Model], a seed and a household's number give that household's half hours, in
// whole Wh, the same on every machine and in every order. Nothing here is about a
// person, and nothing here protects one: a seed is known to whoever uses it, so no
// value of this package may serve as noise, as a key or as an identifier. Noise
// is privacy/dp's, which takes no seed.
//
// # Model
//
// A household has a level, a part of it that is always on, and activity with a
// peak in the morning and one in the evening, shifted for each household; on top
// come bursts of appliances, for some a car that charges on some days, and for
// some electric heating. Feeders differ: each draws its own level and its own
// shares of cars and of heating. Days are independent, and know neither weekdays
// nor weather.
//
// The tree is public: household i belongs to feeder i/100, that to a node of
// 1,000 households, that to one of 10,000, that to one region.
//
// # Randomness
//
// AES-256 in counter mode under SHA-256 of a name and the seed; the upper half of
// the counter is the household or feeder, the lower half runs through its traits
// and then its days. So household i does not depend on how many there are, and a
// day can be made without the days before it. Draws of 16 bits choose among
// quantiles that were rounded to integers, and everything after that is integer
// arithmetic.
//
// # Match
//
// [Default] is calibrated on the reference draw of the synthetic corpus, 100,000
// households that are public, and on nothing else. One million households of the
// default model beside it, energy in kWh:
//
//	                                   day            mean over 20 days
//	                             model  reference     model  reference
//	energy a day                 11.44    11.43       11.44    11.45
//	L2 norm, median               1.77     1.77        1.35     1.40
//	         90 %                 4.37     4.13        3.49     3.41
//	         95 %                 5.74     5.72        4.28     4.33
//	         99 %                 8.95     9.51        6.48     6.45
//	baseline error, 10,000        2.8      3.2         2.6      2.6
//	                 1,000        8.0      8.8         7.2      7.1
//	                   100       24.8     25.1        22.1     22.6
//	spectrum, first 12       0.86 to 1.32 times    0.77 to 1.18 times
//	          all 48         0.86 to 1.32 times    0.73 to 1.18 times
//
// The baseline is what is known without any release but the region's: each node is
// expected to use the region's curve times its share of the households, equal for
// nodes of equal size. Its error is the root mean square over a level's nodes and
// the 48 intervals, in % of the mean load of a node. The reference has ten nodes of
// 10,000 households and a hundred of 1,000, so that by chance alone its own
// figures for them are uncertain by 24 % and 7 % (one standard deviation). The
// spectrum is the second moment of each orthonormal DCT-II coefficient of a
// household's curve, as the ellipsoidal clip is planned on it.
//
// What the model is not: it was calibrated on another model's output, and neither
// has seen a street. Figures measured on it compare methods; they do not foretell
// what a real feeder shows.
package population
