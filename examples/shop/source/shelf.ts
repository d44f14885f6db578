export interface Disc {
  sku: string;
  title: string;
  artist: string;
  genre: "jazz" | "soul" | "folk" | "electronic";
  year: number;
  price: number;
  note: string;
}

/** What the shop sells. None of it exists. */
export const SHELF: Disc[] = [
  { sku: "J-101", title: "Harbour at Five", artist: "The Ijssel Quartet", genre: "jazz", year: 1959, price: 18.5, note: "A modal set recorded in one night, with the tape still running when the milkman came." },
  { sku: "J-102", title: "Blue Bicycle", artist: "Nora Veen Trio", genre: "jazz", year: 1963, price: 21, note: "Brushes, double bass and a piano that was never quite in tune." },
  { sku: "S-201", title: "Slow Train, Warm Rain", artist: "Delphine Carter", genre: "soul", year: 1971, price: 16.5, note: "Horns from the chapel next door. The B side is the reason to own it." },
  { sku: "E-301", title: "Tidal Machines", artist: "Kwarts", genre: "electronic", year: 1979, price: 24, note: "Two synthesisers and a borrowed sequencer, pressed on clear vinyl." },
  { sku: "F-401", title: "Letters from the Moor", artist: "Ailsa Grant", genre: "folk", year: 1968, price: 15, note: "Eleven songs and a single microphone in a stone barn." },
  { sku: "J-103", title: "Third Floor, No Lift", artist: "Sam Okoye Sextet", genre: "jazz", year: 1966, price: 19.5, note: "Hard bop with the windows open; you can hear the street join in." },
  { sku: "S-202", title: "Kitchen Table Choir", artist: "The Mapletons", genre: "soul", year: 1974, price: 17, note: "A family of six, and not one of them sings the melody twice." },
  { sku: "E-302", title: "Radio for Plants", artist: "Orchid & Son", genre: "electronic", year: 1983, price: 22, note: "Made for a greenhouse in Haarlem. The tomatoes did well." },
];
