/** Mantine dressed in our tokens: its colours are taken from `styles/tokens.css`, so that there is one palette. */
import { Button, createTheme, type CSSVariablesResolver, type MantineColorsTuple } from "@mantine/core";

const steel: MantineColorsTuple = [
  "#edf2f6",
  "#d8e2ea",
  "#b5c8d7",
  "#8fbbdc",
  "#6f9cbd",
  "#55839f",
  "#446e89",
  "#2f5570",
  "#27485f",
  "#1c3648",
];

export const theme = createTheme({
  colors: { steel },
  primaryColor: "steel",
  primaryShade: { light: 7, dark: 3 },
  autoContrast: true,
  defaultRadius: "sm",
  fontFamily: "system-ui, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif",
  cursorType: "pointer",
  components: {
    // Mantine takes the contrast from the light scheme, where the colour is dark.
    Button: Button.extend({
      vars: (_, { variant }) => ({ root: variant === undefined || variant === "filled" ? { "--button-color": "var(--on-strong)" } : {} }),
    }),
  },
});

const shared = {
  "--mantine-color-body": "var(--panel)",
  "--mantine-color-text": "var(--ink)",
  "--mantine-color-dimmed": "var(--dim)",
  "--mantine-color-placeholder": "var(--dim)",
  "--mantine-color-default": "var(--panel)",
  "--mantine-color-default-color": "var(--ink)",
  "--mantine-color-default-border": "var(--line)",
  "--mantine-color-default-hover": "var(--panel-strong)",
  "--mantine-color-error": "var(--critical)",
};

export const cssVariables: CSSVariablesResolver = () => ({ variables: {}, light: shared, dark: shared });
