/** The one h1 of a page, its title in the browser, and what belongs beside it. */
import { useEffect, type ReactNode } from "react";
import { t } from "../text";
import css from "./PageHeading.module.css";

export function PageHeading({ title, children }: { title: string; children?: ReactNode }) {
  useEffect(() => {
    document.title = t.title(title);
  }, [title]);
  return (
    <div className={css["heading"]}>
      <h1>{title}</h1>
      {children}
    </div>
  );
}
