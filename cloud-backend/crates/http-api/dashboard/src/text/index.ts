/** The texts of the page. Another language is another module of the same shape, chosen here. */
import { en } from "./en";

export type Catalogue = typeof en;

export const t: Catalogue = en;
